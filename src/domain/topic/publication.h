/*
 * publication - one message on its way into the queue, and what became of it.
 *
 * A request holds one or more publications, which are published or refused together.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "domain/caller/token.h"
#include "domain/text/uuid.h"
#include "domain/topic/topic.h"

#define DECIMAL_TEXT_SIZE 40

struct publication {
	char topic[TOPIC_NAME_MAX + 1];
	struct buf body;		  /* owned: the message, without its seq; one line of JSON */
	bool ephemeral;			  /* not stored, at most once */
	char to_user[USER_ID_MAX + 1];	  /* "": everyone */
	char exclude[UUID_TEXT_SIZE];	  /* "": nobody */
	char deliver_at[CLOCK_TEXT_SIZE]; /* "": now */
	char expires_at[CLOCK_TEXT_SIZE]; /* "": as long as the queue keeps it */

	/* Effectiveness updates only: the database knows the last value, and adds what has changed to the end of the
	 * body. */
	int64_t effect_id; /* recommendation; 0: it is none */
	char effect_value[DECIMAL_TEXT_SIZE];
	char effect_old[DECIMAL_TEXT_SIZE]; /* "": not given */
};

struct publications {
	struct publication *items; /* owned */
	size_t count;
	/* owned: names of members that nothing was done with, as JSON strings, with commas between */
	struct buf ignored;
	size_t ignored_count;
};

#define PUBLICATIONS_NONE ((struct publications){0})

void publications_free(struct publications *p);

enum publish_outcome {
	PUBLISH_OK,
	PUBLISH_SCHEDULED, /* will be published at deliver_at */
	PUBLISH_REPLAYED,  /* the first reply to this idempotency key */
	PUBLISH_FORBIDDEN,
	PUBLISH_NOT_FOUND,  /* no such diagnosis */
	PUBLISH_WITHHELD,   /* nothing is wrong with it, but with another of its request */
	PUBLISH_KEY_REUSED, /* this idempotency key came with another body */
	PUBLISH_OVER_QUOTA, /* the caller may have no more stored today (UTC) */
};

struct publish_result {
	enum publish_outcome outcome;
	int64_t seq;	 /* 0: it has none */
	int64_t clients; /* connected to the topic when it was published */
};
