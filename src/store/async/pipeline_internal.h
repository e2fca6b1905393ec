/*
 * pipeline_internal - sending a statement, for files of this folder only.
 *
 * Layer    store.
 */
#pragma once

#include <libpq-fe.h>

#include "store/async/pipeline.h"
#include "store/wire/statement.h"

/* Parameters in libpq's form; all borrowed until pipeline_send() returns. */
struct pipeline_params {
	int count;
	const char *const *values;
	const int *lengths;
	const int *formats;
};

/* Its answer: OK and rows in binary format, or an error and NULL. `rows` is lent, valid until it returns. */
typedef void (*pipeline_answer)(void *context, enum err e, const PGresult *rows);

/*
 * Sends, having prepared the statement if this connection does not have it and may. `answer` is called exactly once,
 * and never before this returns OK; on an error it is not called.
 *
 *	p	NULL: it has been closed, which is as being away
 *	answer	NULL: nobody wants to know
 */
enum err pipeline_send(struct pipeline *p, const struct statement *s, const struct pipeline_params *params,
		       pipeline_answer answer, void *context) MUST_CHECK;
