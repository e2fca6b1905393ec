#include "store/sidecar/sql_attach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/sidecar/sql_call.h"

struct attach_call {
	attach_answer answer;
	void *context;
	size_t count; /* rows that must come */
};

static const struct statement attach_statement = {
	"attach", "select outcome, topic_id, epoch, last_seq, first_seq, delivered_seq, unsent, counted "
		  "from tidings.attach($1, $2, $3, $4::boolean, $5, $6::int8, $7, $8, $9)"};

/* Of an outcome that is not "ok". */
static enum err attach_outcome(const char *text)
{
	if (text && strcmp(text, "not_found") == 0)
		return ERR_NOT_FOUND;
	return text && strcmp(text, "busy") == 0 ? ERR_BUSY : ERR_FORBIDDEN;
}

static void on_attach(void *context, enum err e, const PGresult *rows)
{
	struct attach_call call = *(struct attach_call *)context;
	struct attach_row *made = NULL;

	free(context);
	if (e == OK && (size_t)PQntuples(rows) != call.count)
		e = ERR_DATABASE;
	if (e == OK) {
		made = calloc(call.count, sizeof(*made));
		if (!made)
			e = ERR_MEMORY;
	}
	for (int i = 0; e == OK && i < (int)call.count; i++) {
		const char *outcome = sql_text_at(rows, i, 0), *epoch = sql_text_at(rows, i, 2);

		if (!outcome || strcmp(outcome, "ok") != 0 || !epoch) {
			made[i].outcome = attach_outcome(outcome);
			continue;
		}
		made[i] = (struct attach_row){
			.outcome = OK,
			.topic_id = sql_int8_at(rows, i, 1),
			.last_seq = (uint64_t)sql_int8_at(rows, i, 3),
			.first_seq = (uint64_t)sql_int8_at(rows, i, 4),
			.delivered_seq = (uint64_t)sql_int8_at(rows, i, 5),
			.unsent = sql_bool_at(rows, i, 6),
			.counted = sql_bool_at(rows, i, 7),
		};
		snprintf(made[i].epoch, sizeof(made[i].epoch), "%s", epoch);
	}
	call.answer(call.context, e, made, e == OK ? call.count : 0);
	free(made);
}

/* One of the texts of each item. */
static void add_item_texts(struct sql_params *params, const struct attach_item *items, size_t count, size_t offset)
{
	struct pgarray *a = &params->arrays[params->count];

	pgarray_begin(a, PGARRAY_TEXT);
	for (size_t i = 0; i < count; i++)
		pgarray_add_text(a, *(const char *const *)(const void *)((const char *)&items[i] + offset));
	sql_add_array(params);
}

enum err sql_attach(struct pipeline *p, const struct attach_node *node, const struct attach_item *items, size_t count,
		    attach_answer answer, void *context)
{
	struct sql_params params = {0};

	add_item_texts(&params, items, count, offsetof(struct attach_item, user_id));
	add_item_texts(&params, items, count, offsetof(struct attach_item, role));
	add_item_texts(&params, items, count, offsetof(struct attach_item, topic));
	sql_add_bool(&params, node->require_user);
	sql_add_text(&params, node->id);
	sql_add_number(&params, node->opened_ever);
	add_item_texts(&params, items, count, offsetof(struct attach_item, connection_id));
	add_item_texts(&params, items, count, offsetof(struct attach_item, transport));
	add_item_texts(&params, items, count, offsetof(struct attach_item, connected_at));
	return sql_send(p, &attach_statement, &params, on_attach,
			&(struct attach_call){.answer = answer, .context = context, .count = count},
			sizeof(struct attach_call));
}
