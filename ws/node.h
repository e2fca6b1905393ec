/*
 * node - one running sidecar: what its parts share.
 *
 *	door		accepts sockets; visitor: one that has not said yet what it wants; line: a socket in the loop
 *	reception	the routes: reads the head of a request, and finds who serves it
 *	server		WebSockets: libwebsockets' raw sockets, and the frames that clients send, translated into calls of stages
 *	http_socket	a socket on which an HTTP reply is held or streamed; voices: how each transport says things
 *	sessions	finds them by connection id and by user
 *	session		one client's connection: what waits to be written to it, its deadlines
 *	subscription	one topic of one session: whether it may have it, and what it still has to be sent
 *	identity	who a session is, and how often one may come; keys: what tokens are checked with
 *	edition		what all who listen to one topic are told, in a voice's words
 *	strangers	sessions that have not said who they are
 *	inbound		what clients say on a WebSocket, and what that costs them
 *	stages		a session's way from the upgrade to live messages
 *	gate		asks the database, many at a time, whether a session may have its topic
 *	grace		pollers between two polls: they count as connected, and go on where they were
 *	ledger		writes down who is connected and what was delivered, many at a time
 *	feed		fetches what the doorbell rang for, and runs the fan-out
 *	catch_up	gives sessions what they missed: from the tail, or read from the database where that can't serve them
 *	pulse		what happens by itself: deadlines, heartbeat, relay, sweep
 *	health		tells whoever watches over it whether it lives, and whether it is ready
 *
 * All of it is one thread: the libuv loop's. Nothing in it blocks.
 *
 * Layer    ws.
 */
#pragma once

#include <libwebsockets.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "base/clock.h"
#include "base/config.h"
#include "domain/budget.h"
#include "domain/dialog.h"
#include "domain/hub.h"
#include "domain/token.h"
#include "domain/uuid.h"
#include "domain/wheel.h"
#include "store/listener.h"
#include "store/pipeline.h"
#include "ws/agreement.h"
#include "ws/watcher.h"

struct door;
struct line;
struct session;
struct gate;
struct grace;
struct ledger;
struct feed;
struct catch_up;
struct edition;
struct pulse;
struct health;
struct user;
struct rate_table;
struct act_queue;

TAILQ_HEAD(session_list, session);

struct node {
	const struct config *config; /* borrowed */
	struct token_keys *keys;
	struct dialog_limits dialog_limits;
	uv_loop_t *loop;
	struct lws_context *lws;
	struct lws_vhost *vhost;

	struct uuid id; /* another each time it starts */
	char id_text[UUID_TEXT_SIZE];
	char started_at[CLOCK_TEXT_SIZE];

	struct pipeline *fetches;  /* what brings messages, and nothing else: so it waits for no rule */
	struct pipeline *pipeline; /* who may have them, who is here, what was delivered, heartbeats */
	struct pipeline *acts;	   /* what clients say, the relay, the sweep */
	struct listener *listener;
	enum agreement agreement; /* of `fetches` and `pipeline` */
	struct watcher fetches_watcher;
	struct watcher pipeline_watcher;
	struct watcher acts_watcher;
	struct watcher listener_watcher;

	struct hub *hub;
	struct deflater *deflater; /* NULL: compression is not offered */
	struct inflater *inflater; /* the same */
	struct wheel wheel;	   /* the sessions' deadlines */
	struct session_list sessions;
	struct session_list strangers; /* who are to say who they are, the oldest first: strangers.h */
	struct session_list
		unfinished; /* whose last message has not come whole, the one begun first first: inbound.h */
	struct session *sessions_by_id; /* of connections: sessions.h */
	size_t sessions_count, strangers_count;
	size_t closing_count;	      /* of the sessions: they have no place any more */
	uint64_t sessions_opened;     /* since the start */
	struct user *users;	      /* by id: how many connections each has here */
	struct user *live_users;      /* the same for the live endpoints, which have a limit of their own */
	struct rate_table *arrivals;  /* how often users come: identity.h */
	struct act_queue *act_queues; /* of users who wait for the database: live_acts.h */

	struct door *door;
	struct gate *gate;
	struct grace *grace;
	struct ledger *ledger;
	struct feed *feed;
	struct catch_up *catch_up;
	struct pulse *pulse;
	struct health *health;
	struct edition *events, *replies; /* the last of event streams, and of polls */

	/* What becomes of a socket whose reply is out; `early`: what its client has sent already. Takes the line. */
	void (*reply_done)(struct node *n, struct line *line, bool keep_alive, const struct buf *early);
	/* Sockets whose replies the fan-out has written: ends those replies, while they are at hand. */
	void (*end_replies)(struct node *n);
	struct budget budget;	  /* of all that is held for clients: TIDINGS_CATCH_UP_MAX */
	int64_t unfinished_bytes; /* of messages that have not come whole, in all sessions: they are in `budget` too */
	bool renew;		  /* what is written down about this node may be wrong: everything anew, soon */
	bool open;		  /* clients are let in */
	bool reading_keys, read_keys_again;  /* keys.h */
	struct rate_bucket strangers_bucket; /* how often those without a good token come: identity.h */
	bool draining;
	bool said_farewell; /* to the database: it is not to be told again that this node lives */
};
