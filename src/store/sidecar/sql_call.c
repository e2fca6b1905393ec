#include "store/sidecar/sql_call.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sql_add_text(struct sql_params *p, const char *text)
{
	p->values[p->count++] = text;
}

void sql_add_bool(struct sql_params *p, bool value)
{
	sql_add_text(p, value ? "true" : "false");
}

void sql_add_number(struct sql_params *p, int64_t number)
{
	snprintf(p->numbers[p->count], sizeof(p->numbers[0]), "%" PRId64, number);
	sql_add_text(p, p->numbers[p->count]);
}

void sql_add_array(struct sql_params *p)
{
	struct pgarray *a = &p->arrays[p->count];

	if (!buf_ok(&a->bytes))
		p->failed = true;
	p->values[p->count] = a->bytes.bytes;
	p->lengths[p->count] = (int)a->bytes.len;
	p->formats[p->count] = 1;
	p->count++;
}

void sql_add_numbers(struct sql_params *p, const int64_t *numbers, size_t count)
{
	struct pgarray *a = &p->arrays[p->count];

	pgarray_begin(a, PGARRAY_INT8);
	for (size_t i = 0; i < count; i++)
		pgarray_add_int8(a, numbers[i]);
	sql_add_array(p);
}

void sql_add_texts(struct sql_params *p, const char *const *texts, size_t count)
{
	struct pgarray *a = &p->arrays[p->count];

	pgarray_begin(a, PGARRAY_TEXT);
	for (size_t i = 0; i < count; i++)
		pgarray_add_text(a, texts[i]);
	sql_add_array(p);
}

enum err sql_send(struct pipeline *p, const struct statement *s, struct sql_params *params, pipeline_answer answer,
		  const void *call, size_t call_size)
{
	void *kept = malloc(call_size);
	enum err e = ERR_MEMORY;

	if (kept && !params->failed) {
		memcpy(kept, call, call_size);
		e = pipeline_send(
			p, s,
			&(struct pipeline_params){params->count, params->values, params->lengths, params->formats},
			answer, kept);
	}
	if (e != OK)
		free(kept);
	for (int i = 0; i < params->count; i++)
		pgarray_free(&params->arrays[i]);
	return e;
}

int64_t sql_int8_at(const PGresult *r, int row, int column)
{
	const uint8_t *bytes = (const uint8_t *)PQgetvalue(r, row, column);
	uint64_t value = 0;

	if (PQgetlength(r, row, column) != 8)
		return 0;
	for (int i = 0; i < 8; i++)
		value = value << 8 | bytes[i];
	return (int64_t)value;
}

const char *sql_text_at(const PGresult *r, int row, int column)
{
	return PQgetisnull(r, row, column) ? NULL : PQgetvalue(r, row, column);
}

bool sql_bool_at(const PGresult *r, int row, int column)
{
	return PQgetlength(r, row, column) == 1 && PQgetvalue(r, row, column)[0];
}
