#include "store/sidecar/sql_attach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/sidecar/sql_call.h"
#include "store/sidecar/sql_fetch_rows.h"

struct attach_call {
	attach_answer answer;
	void *context;
	size_t count; /* of items: of rows that must come, before those of pages */
};

static const struct statement attach_statement = {
	"attach",
	"select outcome, epoch, last_seq, first_seq, delivered_seq, confirmed_seq, device_seq, unsent, same_epoch, "
	"counted, rewound_after, "
	"queue_max, after, "
	"topic_id, seq, to_user, exclude, body, revocation, expires_in_ms, age_ms "
	"from tidings.attach($1, $2, $3, $4::boolean, $5, $6::int8, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, "
	"$17, $18)"};

enum attach_column {
	OUTCOME,
	EPOCH,
	LAST_SEQ,
	FIRST_SEQ,
	DELIVERED_SEQ,
	CONFIRMED_SEQ,
	DEVICE_SEQ,
	UNSENT,
	SAME_EPOCH,
	COUNTED,
	REWOUND_AFTER,
	QUEUE_MAX,
	AFTER,
	TOPIC_ID
};

/* Of an outcome that is not "ok". */
static enum err attach_outcome(const char *text)
{
	if (text && strcmp(text, "not_found") == 0)
		return ERR_NOT_FOUND;
	return text && strcmp(text, "busy") == 0 ? ERR_BUSY : ERR_FORBIDDEN;
}

static int64_t place_at(const PGresult *r, int row, enum attach_column column)
{
	return PQgetisnull(r, row, (int)column) ? -1 : sql_int8_at(r, row, (int)column);
}

static void read_row(struct attach_row *made, const PGresult *r, int row)
{
	const char *outcome = sql_text_at(r, row, OUTCOME), *epoch = sql_text_at(r, row, EPOCH);

	if (!outcome || strcmp(outcome, "ok") != 0 || !epoch) {
		made->outcome = attach_outcome(outcome);
		return;
	}
	*made = (struct attach_row){
		.outcome = OK,
		.topic_id = sql_int8_at(r, row, TOPIC_ID),
		.last_seq = (uint64_t)sql_int8_at(r, row, LAST_SEQ),
		.first_seq = (uint64_t)sql_int8_at(r, row, FIRST_SEQ),
		.delivered_seq = (uint64_t)sql_int8_at(r, row, DELIVERED_SEQ),
		.confirmed_seq = (uint64_t)sql_int8_at(r, row, CONFIRMED_SEQ),
		.device_seq = place_at(r, row, DEVICE_SEQ),
		.unsent = sql_bool_at(r, row, UNSENT),
		.same_epoch = sql_bool_at(r, row, SAME_EPOCH),
		.counted = sql_bool_at(r, row, COUNTED),
		.queue_max = (uint64_t)sql_int8_at(r, row, QUEUE_MAX),
		.rewound_after = place_at(r, row, REWOUND_AFTER),
	};
	snprintf(made->epoch, sizeof(made->epoch), "%s", epoch);
}

/* The page that a message behind the items' rows is of: begun with its first. */
static void add_to_pages(struct fetch_page *pages, size_t *count, const PGresult *r, int row,
			 const struct fetch_row *message)
{
	uint64_t after = (uint64_t)sql_int8_at(r, row, AFTER);
	const char *epoch = sql_text_at(r, row, EPOCH);

	if (*count == 0 || pages[*count - 1].topic_id != message->topic_id || pages[*count - 1].after != after)
		pages[(*count)++] = (struct fetch_page){
			.topic_id = message->topic_id, .epoch = epoch ? epoch : "", .after = after, .rows = message};
	pages[*count - 1].count++;
}

static void on_attach(void *context, enum err e, const PGresult *r)
{
	struct attach_call call = *(struct attach_call *)context;
	struct attach_result result = {0};
	struct attach_row *rows = NULL;
	struct fetch_page *pages = NULL;
	struct fetch_rows messages = {0};

	free(context);
	if (e == OK && (size_t)PQntuples(r) < call.count)
		e = ERR_DATABASE;
	if (e == OK)
		e = fetch_rows_read(&messages, r, (int)call.count, TOPIC_ID);
	if (e == OK) {
		rows = calloc(call.count, sizeof(*rows));
		pages = calloc(messages.count + 1, sizeof(*pages));
		if (!rows || !pages)
			e = ERR_MEMORY;
	}
	if (e == OK) {
		for (size_t i = 0; i < call.count; i++)
			read_row(&rows[i], r, (int)i);
		for (size_t i = 0; i < messages.count; i++)
			add_to_pages(pages, &result.pages_count, r, (int)(call.count + i), &messages.rows[i]);
		result.rows = rows;
		result.pages = pages;
	}
	call.answer(call.context, e, &result);
	free(rows);
	free(pages);
	fetch_rows_free(&messages);
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

/* The cursor of each item: its seq, NULL where there is none; its epoch. */
static void add_cursors(struct sql_params *params, const struct attach_item *items, size_t count)
{
	struct pgarray *a = &params->arrays[params->count];

	pgarray_begin(a, PGARRAY_INT8);
	for (size_t i = 0; i < count; i++) {
		if (items[i].after < 0)
			pgarray_add_null(a);
		else
			pgarray_add_int8(a, items[i].after);
	}
	sql_add_array(params);
	add_item_texts(params, items, count, offsetof(struct attach_item, epoch));
}

/* How far each goes back, and over which types. */
static void add_rewinds(struct sql_params *params, const struct attach_item *items, size_t count)
{
	struct pgarray *a = &params->arrays[params->count];

	pgarray_begin(a, PGARRAY_INT8);
	for (size_t i = 0; i < count; i++)
		pgarray_add_int8(a, items[i].rewind);
	sql_add_array(params);
	add_item_texts(params, items, count, offsetof(struct attach_item, types));
}

enum err sql_attach(struct pipeline *p, const struct attach_node *node, const struct attach_limits *limits,
		    const struct attach_item *items, size_t count, attach_answer answer, void *context)
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
	add_cursors(&params, items, count);
	sql_add_number(&params, limits->queue_max);
	sql_add_number(&params, limits->rows);
	sql_add_number(&params, limits->bytes);
	add_rewinds(&params, items, count);
	add_item_texts(&params, items, count, offsetof(struct attach_item, also));
	add_item_texts(&params, items, count, offsetof(struct attach_item, device));
	return sql_send(p, &attach_statement, &params, on_attach,
			&(struct attach_call){.answer = answer, .context = context, .count = count},
			sizeof(struct attach_call));
}
