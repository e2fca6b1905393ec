/*
 * client_message - what a client says: on a live-health connection, by POST /ws/send, or as a broadcast (spec sections
 * 3.3 and 6).
 *
 *	{"type":"health_update","data":{"metric":"pulse","value":72},"correlation_id":"a1"}
 *
 * It is read strictly, and what goes on is made anew: only members that its type has, each of its kind, one line. What
 * they mean, and whether this user may, the database decides (tidings.act). The members are those of `data`; where that
 * is missing or empty, those of the message itself (`{"type":"authenticate","token":"…"}`). A type that is exact, as those are
 * that change something, refuses members that it does not have: `"hihg"` must not set half of a threshold. The others pass
 * over them.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "domain/http/problem.h"
#include "domain/input/client_type.h"
#include "domain/text/uuid.h"
#include "domain/topic/message_type.h"
#include "domain/topic/selection.h"
#include "domain/topic/topic.h"

#define CLIENT_NAME_SIZE 513 /* 128 characters of at most four bytes, and the NUL */

struct client_message {
	enum client_type type;
	struct buf data;	   /* owned: of an act: its members, a JSON object in one line */
	int64_t about;		   /* its first member, where that was said elsewhere; 0: it was not */
	struct buf correlation_id; /* owned: JSON text; empty: none. Set on a fault too, where it could be read */

	/* What a connection looks at itself. */
	struct buf token;		     /* owned: authenticate, refresh_token */
	char device[DEVICE_NAME_MAX + 1];    /* authenticate; "": none */
	char subscription[CLIENT_NAME_SIZE]; /* subscribe, unsubscribe */
	char cursor[CLIENT_NAME_SIZE];	     /* subscribe; "": none */
	struct message_types *types;	     /* owned; subscribe; NULL: all */
	int64_t rewind;			     /* subscribe; 0: none */
	bool presence;			     /* subscribe */
	char topic[TOPIC_NAME_MAX + 1];	     /* ack of a topic's message; "": it is one of a notification */
	int64_t seq;			     /* with topic */
	char id[UUID_TEXT_SIZE];	     /* ack of a notification; "": it is one of a topic's message */
};

#define CLIENT_MESSAGE_NONE ((struct client_message){0})

/* Why a message is not taken. Free the problem with problem_free(). */
struct client_fault {
	const char *code;	/* static: "invalid_message" or "unknown_type", for an error message */
	const char *sentence;	/* static: the same in words; problem.errors says which members are wrong, if any are */
	struct problem problem; /* for an HTTP reply: 400 or 422 */
};

#define CLIENT_FAULT_NONE ((struct client_fault){0})

/*
 * Reads a whole message. The bare text `ping` is one.
 *
 *	m	all zero; the caller frees it, whatever the outcome
 *	fault	out, when ERR_INPUT
 *
 * ERR_INPUT, ERR_MEMORY
 */
enum err client_message_read(struct client_message *m, struct span text, struct client_fault *fault) MUST_CHECK;

/* The same for a body that holds the members of one type, and perhaps a correlation_id. */
enum err client_message_read_body(struct client_message *m, enum client_type type, struct span text,
				  struct client_fault *fault) MUST_CHECK;

/*
 * The same where the first member of the type is an id that was said elsewhere: in the path of a request.
 */
enum err client_message_read_about(struct client_message *m, enum client_type type, int64_t id, struct span text,
				   struct client_fault *fault) MUST_CHECK;

void client_message_free(struct client_message *m);
