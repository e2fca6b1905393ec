/*
 * watched_topic - a topic whose roster is known here, the subscriptions that watch it, and what each of them has been told.
 *
 * The roster has a version, which grows whenever there is something to tell. A watcher that was told the version before gets what has
 * changed, any other all of it.
 *
 * Layer    ws.
 * Memory   a roster, and the frames of its last version.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/hash.h"
#include "domain/dialog/roster.h"
#include "ws/session/subscription.h"

struct watcher {
	TAILQ_ENTRY(watcher) link; /* in its topic's */
	struct watched_topic *topic;
	struct subscription *sub; /* borrowed: it leaves before it goes */
	uint64_t told;		  /* the version that its client knows; 0: none */
	uint64_t joined;	  /* readings that had been begun when it came */
	int64_t whole_ms;	  /* when it was told all of it; 0: never */
};

TAILQ_HEAD(watcher_list, watcher);

struct watched_topic {
	UT_hash_handle hh;		 /* by id */
	TAILQ_ENTRY(watched_topic) busy; /* while there is a next */
	int64_t id;
	char name[TOPIC_NAME_MAX + 1];
	struct roster *roster; /* owned; NULL: it has not been read */
	uint64_t version;      /* 0: it has not been read */
	struct buf changes;    /* frames: from the version before to this one; empty: all of it has to be told */
	unsigned changes_count;
	struct buf whole; /* a frame, of this roster; empty: not made yet */
	struct watcher_list watchers;
	struct watcher *
		next; /* who is looked at next: those before it have been told, as far as they take it; NULL: all have */
	uint64_t begun;	 /* readings of it, so far */
	uint64_t joined; /* of those, when the last of the watchers came */
	uint64_t as_of;	 /* the reading that `roster` is from */
	int64_t read_ms; /* when the last was begun; 0: never */
	int64_t due_ms;	 /* when it is to be read */
};

/* NULL: no memory. Without watchers, and due now. */
struct watched_topic *watched_topic_new(const struct hub_topic *topic);
void watched_topic_free(struct watched_topic **t);

/* One more, behind all others, which has been told nothing. False: no memory. */
bool watched_topic_add(struct watched_topic *t, struct subscription *sub);

/* It is not in `t->watchers` any more, and freed; t->next must not be it. */
void watched_topic_remove(struct watched_topic *t, struct watcher *r);

/* More users than are told one by one. */
bool watched_topic_is_large(const struct watched_topic *t);

/*
 * It has been read: *r is taken.
 *
 *	settled	false: the database may not know yet of everybody who is there. Who is missing stays
 *	news	out: there is a new version
 *
 * ERR_BUSY    those who are missing cannot be told from those who left: it is to be read again once it is settled
 * ERR_MEMORY  nothing has changed: it is to be read again
 */
enum err watched_topic_take(struct watched_topic *t, struct roster **r, bool settled, bool *news) MUST_CHECK;

/* What it lacks, where it takes bytes now. One that has come waits for a reading that was begun since: it is in that itself. */
void watched_topic_tell(struct watched_topic *t, struct watcher *r);
