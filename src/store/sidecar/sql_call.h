/*
 * sql_call - the parts of a call of one of our SQL functions: its parameters, the sending, the columns of its answer.
 *
 * Layer    store: for what is asked of a pipeline, here and in roster/
 */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "store/async/pipeline_internal.h"
#include "store/wire/pgarray.h"

#define SQL_PARAMS_MAX 23

/* The parameters of one call, added in their order. All zero at first. */
struct sql_params {
	int count;
	const char *values[SQL_PARAMS_MAX];
	int lengths[SQL_PARAMS_MAX];
	int formats[SQL_PARAMS_MAX];
	struct pgarray arrays[SQL_PARAMS_MAX]; /* owned: behind `values` */
	char numbers[SQL_PARAMS_MAX][24];
	bool failed; /* an array found no memory */
};

void sql_add_text(struct sql_params *p, const char *text); /* borrowed until sql_send(); NULL is NULL */
void sql_add_bool(struct sql_params *p, bool value);
void sql_add_number(struct sql_params *p, int64_t number);
void sql_add_numbers(struct sql_params *p, const int64_t *numbers, size_t count);
/* The array that was made in p->arrays[p->count]. */
void sql_add_array(struct sql_params *p);

void sql_add_texts(struct sql_params *p, const char *const *texts, size_t count);

/*
 * Sends the call, and frees its parameters, whatever the outcome.
 *
 *	call	copied: what `answer` needs to know of the call; `answer` gets the copy as its context, and frees it
 */
enum err sql_send(struct pipeline *p, const struct statement *s, struct sql_params *params, pipeline_answer answer,
		  const void *call, size_t call_size) MUST_CHECK;

/* Columns in binary format. A NULL number is 0. A text is lent, as long as the rows; NULL: it is NULL. */
int64_t sql_int8_at(const PGresult *r, int row, int column);
const char *sql_text_at(const PGresult *r, int row, int column);
bool sql_bool_at(const PGresult *r, int row, int column);
