/*
 * node - one running sidecar: what its parts share.
 *
 * A family of parts is a folder; each may know those to the right of it:
 *
 *	main -> upkeep -> net -> live -> subscribe -> { roster, deliver, encode } -> identity -> session -> loop -> metrics
 *
 *	net		accepts sockets, reads requests, finds who serves them; the two transports of bytes: websocket, HTTP
 *	live		the live endpoints: what their clients say, and are told
 *	subscribe	a subscription's way, from the question whether it may have its topic to live messages
 *	roster		who is on a topic, for those who want to know
 *	deliver		from the doorbell to the hub; what was missed; who is here, and what was delivered
 *	encode		messages in the words of each transport
 *	identity	who a session is, how often one may come, how sessions are found
 *	session		one client: its state, its deadlines, what waits to be written to it
 *	loop		descriptors in the libuv loop; sockets whose request has not come yet
 *	metrics		what is counted
 *	upkeep		what happens by itself, or is ordered
 *
 * All of it is one thread: the libuv loop's. Nothing in it blocks.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/metrics/metrics.h"
#include "base/process/config.h"
#include "domain/caller/rate.h"
#include "domain/caller/token.h"
#include "domain/dialog/dialog.h"
#include "domain/fanout/budget.h"
#include "domain/fanout/hub.h"
#include "domain/fanout/wheel.h"
#include "domain/text/uuid.h"
#include "store/async/doorbell.h"
#include "store/async/pipeline.h"
#include "ws/agreement.h"
#include "ws/loop/client_socket.h"
#include "ws/loop/pg_watch.h"

struct session;
struct user;
struct act_queue;

TAILQ_HEAD(session_list, session);

/* The connections to PostgreSQL. Each is opened, and its comings and goings are told, by database.h. */
struct node_database {
	struct pipeline *fetches; /* what brings messages, and nothing else: so it waits for no rule */
	struct pipeline *queries; /* who may have them, who is here, what was delivered, heartbeats */
	struct pipeline *acts;	  /* what clients say, the relay, the sweep */
	struct doorbell *listener;
	enum agreement agreement; /* of `fetches` and `queries` */
	struct pg_watch fetches_watch, queries_watch, acts_watch, listener_watch;
};

/* The sessions of the node: session.c keeps this, session_index.h finds them. */
struct node_sessions {
	struct session_list all;
	struct session_list strangers; /* who are to say who they are, the oldest first: strangers.h */
	struct session *by_id;	       /* by connection id */
	struct user *users;	       /* by id: how many connections each has here */
	struct user *live_users;       /* the same for the live endpoints, which have a limit of their own */
	size_t count, strangers_count;
	size_t closing_count; /* of `count`: they have no place any more */
	uint64_t opened;      /* since the start */
	struct wheel wheel;   /* their deadlines */
};

/* Messages of clients that have not come whole: inbound.h. */
struct node_unfinished {
	struct session_list begun; /* the one begun first first */
	int64_t bytes;		   /* they are in node.budget too */
};

/* What tokens are checked with, and how often users may come: keys.h, identity.h. */
struct node_identity {
	struct token_keys *keys;
	struct rate_table *arrivals;	     /* of users */
	struct rate_bucket strangers_bucket; /* of all who bring no good token */
};

/* What a message goes through. */
struct node_fanout {
	struct fetcher *fetcher;
	struct hub *hub;
	struct deflater *deflater; /* NULL: compression is not offered */
	struct inflater *inflater; /* the same */
	struct backfill *backfill;
	struct presence *presence;
	struct roster_watch *roster_watch;
	struct encode_cache *event_cache, *reply_cache; /* the last of event streams, and of polls */
};

/* What happens by itself. */
struct node_upkeep {
	struct tick *tick;
	struct heartbeat_sender *heartbeat;
	struct accounts *accounts;
	struct relay *relay;
	struct sweep *sweep;
	struct node_health *health;
	uv_async_t drain_asked; /* sent: somebody wants this node to drain, and to stay: drain.h */
};

enum node_phase {
	NODE_SERVING,
	NODE_DRAINING, /* clients are asked to come again, elsewhere */
	NODE_GONE,     /* the database has been told so: it is not to be told again that this node lives */
};

struct node {
	const struct config *config;  /* borrowed */
	uv_loop_t *loop;	      /* borrowed */
	char id_text[UUID_TEXT_SIZE]; /* another each time it starts */
	char started_at[CLOCK_TEXT_SIZE];
	enum node_phase phase;
	struct node_database db;
	struct budget budget; /* of all that is held for clients: TIDINGS_CATCH_UP_MAX */
	struct dialog_limits dialog_limits;
	struct client_sockets sockets;
	struct websockets *websockets;
	struct acceptor *acceptor;
	struct node_sessions sessions;
	struct node_identity identity;
	struct node_unfinished unfinished;
	struct act_queue *act_queues; /* of users who wait for the database: live_actions.h */
	struct authorizer *authorizer;
	struct parked_polls *parked_polls;
	struct node_fanout fanout;
	struct node_upkeep upkeep;
	struct metrics metrics; /* node_metrics.h */
};
