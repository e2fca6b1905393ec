/*
 * message - one stored message, as it goes out.
 *
 * The queue keeps a message as finished JSON without its seq, which is known only when it is committed; so whoever
 * sends it puts the seq in front and never parses it.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "domain/text/uuid.h"
#include "domain/topic/message_type.h"

/*
 * `{"type":…}` with 7 of abc becomes `{"seq":7,"cursor":"abc-7","type":…}`.
 *
 *	epoch	NULL: it has no cursor
 *	body	a JSON object as tidings.message keeps it
 */
void message_add(struct buf *out, uint64_t seq, const char *epoch, struct span body);

/* The 7 of a text that message_add() made; 0: it has none (an ephemeral one). */
uint64_t message_seq(struct span text);

/* One message as the database gives it. */
struct stored_message {
	uint64_t seq;
	const char *epoch;	    /* borrowed; NULL: it goes out without a cursor */
	struct span body;	    /* borrowed; .bytes NULL: expired, nobody gets it */
	int64_t expires_ms;	    /* on the caller's clock: nobody gets it from then on; 0: never */
	const char *to_user;	    /* borrowed; NULL: for everyone */
	const struct uuid *exclude; /* borrowed; NULL: nobody is left out */
	int64_t stored_ms;	    /* on the caller's clock: when it was published; 0: not known */
};

/* Who reads. */
struct reader {
	const char *user_id; /* borrowed; NULL: anonymous */
	struct uuid connection_id;
	bool inflates;			   /* takes compressed messages (permessage-deflate) */
	const struct message_types *types; /* borrowed; that it wants alone; NULL: all */
};

/* Is a message with these two limits for this reader? */
bool reader_may_have(const struct reader *r, const char *to_user, const struct uuid *exclude);
