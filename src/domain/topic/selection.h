/*
 * selection - the topics that a request names, each with the cursor that the client goes on from.
 *
 *	/ws/123?cursor=abc-5				one diagnosis
 *	/sse?topics=diagnosis/1,health/456&cursor=abc-5.def-7	several topics, and a combined cursor (resume_point.h)
 *	/poll/123?types=a,b&rewind=20	messages of these types alone; without a cursor, the newest 20 of them first
 *	/ws?topics=a,b&presence=yes	and who is on them
 *	/ws/123?device=phone	without a cursor, after what that device has confirmed
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "domain/http/problem.h"
#include "domain/topic/cursor.h"
#include "domain/topic/message_type.h"
#include "domain/topic/topic.h"

#define SELECTION_MAX 100 /* topics: as many as a connection may be subscribed to (spec section 6) */

/* What a cursor was given as. */
enum cursor_origin { CURSOR_OF_QUERY, CURSOR_OF_LAST_EVENT };

struct selected {
	char topic[TOPIC_NAME_MAX + 1];
	bool has_cursor;     /* it goes on from somewhere */
	bool cursor_damaged; /* and nobody knows from where */
	bool presence;	     /* it wants to know who is on the topic */
	enum cursor_origin cursor_origin;
	struct cursor cursor;
	int64_t rewind; /* messages that it goes back where it has no cursor to go on from; 0: as the topic's policy has it */
	struct message_types *types; /* borrowed: the selection's, or its maker's; NULL: all */
};

#define REWIND_MAX 100
#define REWIND_SENTENCE "must be an integer from 1 to 100"

#define DEVICE_NAME_MAX 64 /* bytes */
#define DEVICE_SENTENCE "must be 1 to 64 characters out of A-Z a-z 0-9 _ . -"

/* [A-Za-z0-9_.-]{1,64} */
bool device_name_valid(const char *name, size_t len);

struct selection {
	int64_t diagnosis_id;		  /* 0: the request named topics */
	struct message_types *types;	  /* owned; NULL: all */
	char device[DEVICE_NAME_MAX + 1]; /* "": it has no name */
	size_t count;
	struct selected items[];
};

/*
 *	cursor		NULL: none
 *	out		taken by the caller, who frees it by selection_free()
 */
enum err selection_of_diagnosis(struct selection **out, int64_t diagnosis_id, const char *cursor) MUST_CHECK;

/*
 *	topics		names, joined by commas, as a query has them once it is decoded
 *	cursor		NULL: none; one whose parts are not as many as the topics is damaged for all of them
 *
 * ERR_INPUT  not 1 to SELECTION_MAX different names of topics
 */
enum err selection_of_topics(struct selection **out, struct span topics, const char *cursor) MUST_CHECK;

void selection_free(struct selection **s);

/*
 * The name that a client gives itself in its query; "": none.
 *
 *	problem	added to: it is not one
 *
 * ERR_MEMORY
 */
enum err selection_device(char device[DEVICE_NAME_MAX + 1], struct span query, struct problem *problem) MUST_CHECK;

/*
 * What a request asks for by its query, and by its Last-Event-ID, which goes before `cursor`.
 *
 *	diagnosis_id	of its path; 0: it has to name topics
 *	last_event_id	empty: none
 *	problem		added to: what is wrong with its parameters, one by one; *out is NULL then
 *
 * ERR_MEMORY
 */
enum err selection_of_query(struct selection **out, struct span query, struct span last_event_id, int64_t diagnosis_id,
			    struct problem *problem) MUST_CHECK;
