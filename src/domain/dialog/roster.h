/*
 * roster - who is on a topic, as users, and how its watchers are told (spec section 7, "Presence").
 *
 *	{"type":"presence","topic":"chat/…","timestamp":"…","data":{"users":[{"user_id":456,"connections":2,"since":"…"}],
 *	 "users_total":1,"clients":3,"anonymous":1}}		all of it; of more than ROSTER_MAX users the first
 *	{"type":"join","topic":"chat/…","timestamp":"…","data":{"user_id":457}}		what has changed since
 *	{"type":"leave", …}
 *	{"type":"presence", … "data":{"users_total":2000,"clients":2010,"anonymous":0}}	the same, of more than ROSTER_MAX
 *
 * A roster is as it was read at one moment; what has changed is found by comparing two.
 *
 * Layer    domain.
 * Memory   ROSTER_MAX users.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/defs.h"
#include "base/err.h"
#include "domain/caller/user_id.h"

#define ROSTER_MAX 100 /* users that are told one by one */

struct roster_user {
	char id[USER_ID_MAX + 1];
	char since[CLOCK_TEXT_SIZE];
	int64_t connections; /* 0: away, for less than the grace */
};

struct roster {
	int64_t users, clients, anonymous; /* of the whole topic */
	size_t count;			   /* of items: `users`, or ROSTER_MAX of them */
	struct roster_user items[];	   /* by id, bytewise */
};

/* With room for so many, and none in it. NULL: no memory. */
struct roster *roster_new(size_t room);

/* It has all users of its topic. */
bool roster_is_whole(const struct roster *r);

/*
 * What the database says now may lack users: those of *r, and of `before` who are not in it.
 *
 * ERR_MEMORY  *r is as it was
 */
enum err roster_keep(struct roster **r, const struct roster *before) MUST_CHECK;

/* Appends a frame that tells all of it. */
void roster_add_whole(struct buf *frames, const struct roster *r, const char *topic, int64_t wall_us);

/*
 * Appends what has changed from one to the other, a frame each. Returns how many: 0: nothing, or nothing but numbers of connections.
 *
 * Where only one of them is whole, that cannot be told so: *whole is set, and nothing appended.
 */
size_t roster_add_changes(struct buf *frames, const struct roster *from, const struct roster *to, const char *topic,
			  int64_t wall_us, bool *whole);
