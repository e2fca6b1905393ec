/*
 * poster - POSTs broadcasts over a few keep-alive connections.
 *
 * A run is `count` POSTs. With a rate their turns come at even times, whether the ones before were answered or not, and
 * a POST's start is its turn: a server that stalls shows the stall in every POST that had to wait. Without a rate each
 * connection sends its next one when the last is answered: as fast as the server takes them. One at a time, a POST
 * waits for poster_release() as well, and its start is when it is sent.
 *
 * Each POST carries a number, counted from 1 over all runs.
 *
 * Layer    tests.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct poster; /* opaque */

enum post_to {
	POST_FEEDBACK, /* /ws/broadcast-feedback-update, diagnoses 1 … topics in turn; the number is the feedback_id */
	POST_PUBLISH,  /* the same topics and numbers by /ws/publish, which takes longer texts */
	POST_NCHAN,    /* as POST_FEEDBACK, to /publish/<topic> */
};

struct poster_plan {
	const char *host;  /* borrowed, as the token, for as long as the poster lives */
	const char *token; /* NULL: none */
	int port;
	enum post_to to;
	unsigned topics;
	unsigned connections;
	unsigned pad_bytes;  /* of text in each body: letters that compress to about half */
	unsigned rate_per_s; /* 0: as fast as answers come */
	bool one_at_a_time;
};

struct poster_figures {
	/* Of this run: */
	uint64_t answered;
	uint64_t failed;	/* of those, other than 2xx */
	uint64_t statuses[600]; /* by HTTP status; 0: the connection was cut before an answer */
};

/* By its name, feedback, publish or nchan; else die(). */
enum post_to post_to(const char *name);

struct poster *poster_new(int loop, const struct poster_plan *plan);

/* Begins a run, the one before being over. */
void poster_run(struct poster *p, uint64_t count);

/* Nothing new is sent; what is under way is still waited for. */
void poster_stop(struct poster *p);

/* The run's POSTs are all answered. */
bool poster_idle(const struct poster *p);

/* The newest POST has done its work: the next may go. Only for one_at_a_time. */
void poster_release(struct poster *p);

/* When POST `number` started; when it was answered (0: not yet). */
int64_t poster_start_ns(const struct poster *p, uint64_t number);
int64_t poster_answer_ns(const struct poster *p, uint64_t number);

/* The newest number given out; 0: none. */
uint64_t poster_last(const struct poster *p);

const struct poster_figures *poster_figures(const struct poster *p); /* lent */

/* One line per status that came: `status 200 1234`. */
void poster_print_statuses(const struct poster *p);

void poster_free(struct poster **p);
