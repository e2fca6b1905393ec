/*
 * budget - the bytes that a node holds for its clients, and who gives theirs up when they are too many.
 *
 * Every client has a holding: all that is kept in memory for it, whatever for. Bytes that will be read or made for a
 * client are reserved first. Where there is no room, the largest of the idle holdings is given up: those whose clients
 * have taken nothing of them for BUDGET_IDLE_MS. So who does not read cannot keep others from their bytes, and who reads
 * is not closed for those who do not. Only where more is held than may be, and none is idle, the largest of all is.
 *
 *	empty --budget_hold()--> held --BUDGET_IDLE_MS--> idle
 *				  ^------budget_taken()-----'
 *
 * Layer    domain: the owner of a holding frees its bytes; the caller says what time it is.
 * Threads  none: the event loop's.
 * Time     each function looks at BUDGET_LOOK_MAX holdings at most.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define BUDGET_IDLE_MS 2000
#define BUDGET_LOOK_MAX 256 /* holdings that are compared: those that have been idle for longest */

struct holding {
	TAILQ_ENTRY(holding) link; /* in budget.holdings while `bytes` is not 0 */
	size_t bytes;
	int64_t taken_ms; /* when its client last took some, or the holding began */
};

TAILQ_HEAD(holding_list, holding);

struct budget {
	size_t bytes_max;
	size_t bytes;		      /* held and reserved */
	struct holding_list holdings; /* the smallest taken_ms first */
};

void budget_init(struct budget *b, size_t bytes_max);

/* The holding is of so many bytes now; 0: it ends. */
void budget_hold(struct budget *b, struct holding *h, size_t bytes, int64_t now_ms);

/* Its client takes what is held. Nothing for an empty one. */
void budget_taken(struct budget *b, struct holding *h, int64_t now_ms);

/*
 * Is there room for so many more bytes that can wait? A quarter of the budget is not for those: it is for what cannot,
 * the rest of a write that a socket took in part.
 */
bool budget_has_room(const struct budget *b, size_t bytes);

/* Is there room for so many more, all of the budget being theirs? */
bool budget_fits(const struct budget *b, size_t bytes);

/* Bytes that will be held, or that nobody can give up; budget_release() takes the same number back. */
void budget_reserve(struct budget *b, size_t bytes);
void budget_release(struct budget *b, size_t bytes);

/* More is held than may be. */
bool budget_is_over(const struct budget *b);

/* The largest of the idle holdings; NULL: none is idle. */
struct holding *budget_largest_idle(const struct budget *b, int64_t now_ms);

/* The largest holding, idle or not; NULL: there is none. */
struct holding *budget_largest(const struct budget *b);
