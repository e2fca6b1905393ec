#include "store/calls.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "store/acts_internal.h"
#include "store/pgarray.h"
#include "store/pipeline_internal.h"
#include "store/schema.h"

#define PARAMS_MAX 17
#define EXPIRY_MAX_MS (INT64_C(1) << 53) /* ahead: longer than any clock of ours runs */

/* The parameters of one call, made one after the other. */
struct params {
	int count;
	const char *values[PARAMS_MAX];
	int lengths[PARAMS_MAX];
	int formats[PARAMS_MAX];
	struct pgarray arrays[PARAMS_MAX]; /* owned: behind `values` */
	char numbers[PARAMS_MAX][24];
	bool failed;
};

static void add_text(struct params *p, const char *text)
{
	p->values[p->count++] = text;
}

static void add_number(struct params *p, int64_t number)
{
	snprintf(p->numbers[p->count], sizeof(p->numbers[0]), "%" PRId64, number);
	add_text(p, p->numbers[p->count]);
}

static void add_array(struct params *p)
{
	struct pgarray *a = &p->arrays[p->count];

	if (!buf_ok(&a->bytes))
		p->failed = true;
	p->values[p->count] = a->bytes.bytes;
	p->lengths[p->count] = (int)a->bytes.len;
	p->formats[p->count] = 1;
	p->count++;
}

static void add_numbers(struct params *p, const int64_t *numbers, size_t count)
{
	struct pgarray *a = &p->arrays[p->count];

	pgarray_begin(a, PGARRAY_INT8);
	for (size_t i = 0; i < count; i++)
		pgarray_add_int8(a, numbers[i]);
	add_array(p);
}

static void add_texts(struct params *p, const char *const *texts, size_t count)
{
	struct pgarray *a = &p->arrays[p->count];

	pgarray_begin(a, PGARRAY_TEXT);
	for (size_t i = 0; i < count; i++)
		pgarray_add_text(a, texts[i]);
	add_array(p);
}

/* What a caller of this file waits for, until the pipeline answers. */
struct call {
	union {
		attach_answer attach;
		fetch_answer fetch;
		plain_answer plain;
		heartbeat_answer heartbeat;
		state_answer state;
		relay_answer relay;
		sweep_answer sweep;
		admit_answer admit;
		act_answer act;
		accounts_answer accounts;
		redeliver_answer redeliver;
	} to;
	void *context;
	size_t count; /* rows that must come */
	int64_t topic_id;
};

static enum err send_call(struct pipeline *p, const struct pipeline_statement *s, struct params *params,
			  pipeline_answer answer, const struct call *call)
{
	struct call *kept = malloc(sizeof(*kept));
	enum err e = ERR_MEMORY;

	if (kept && !params->failed) {
		*kept = *call;
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

/* ---- reading rows: binary format; a NULL number is 0 */

static int64_t int8_at(const PGresult *r, int row, int column)
{
	const uint8_t *bytes = (const uint8_t *)PQgetvalue(r, row, column);
	uint64_t value = 0;

	if (PQgetlength(r, row, column) != 8)
		return 0;
	for (int i = 0; i < 8; i++)
		value = value << 8 | bytes[i];
	return (int64_t)value;
}

static const char *text_at(const PGresult *r, int row, int column)
{
	return PQgetisnull(r, row, column) ? NULL : PQgetvalue(r, row, column);
}

static bool bool_at(const PGresult *r, int row, int column)
{
	return PQgetlength(r, row, column) == 1 && PQgetvalue(r, row, column)[0];
}

/* ---- attach */

static const struct pipeline_statement attach_statement = {
	"attach", "select outcome, topic_id, epoch, last_seq, first_seq, delivered_seq, unsent, counted "
		  "from tidings.attach($1, $2, $3, $4::boolean, $5, $6::int8, $7, $8, $9)"};

/* Of one that is not "ok". */
static enum err attach_outcome(const char *text)
{
	if (text && strcmp(text, "not_found") == 0)
		return ERR_NOT_FOUND;
	return text && strcmp(text, "busy") == 0 ? ERR_BUSY : ERR_FORBIDDEN;
}

static void on_attach(void *context, enum err e, const PGresult *rows)
{
	struct call call = *(struct call *)context;
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
		const char *outcome = text_at(rows, i, 0), *epoch = text_at(rows, i, 2);

		if (!outcome || strcmp(outcome, "ok") != 0 || !epoch) {
			made[i].outcome = attach_outcome(outcome);
			continue;
		}
		made[i] = (struct attach_row){
			.outcome = OK,
			.topic_id = int8_at(rows, i, 1),
			.last_seq = (uint64_t)int8_at(rows, i, 3),
			.first_seq = (uint64_t)int8_at(rows, i, 4),
			.delivered_seq = (uint64_t)int8_at(rows, i, 5),
			.unsent = bool_at(rows, i, 6),
			.counted = bool_at(rows, i, 7),
		};
		snprintf(made[i].epoch, sizeof(made[i].epoch), "%s", epoch);
	}
	call.to.attach(call.context, e, made, e == OK ? call.count : 0);
	free(made);
}

/* One of the texts of each item. */
static void add_item_texts(struct params *params, const struct attach_item *items, size_t count, size_t offset)
{
	struct pgarray *a = &params->arrays[params->count];

	pgarray_begin(a, PGARRAY_TEXT);
	for (size_t i = 0; i < count; i++)
		pgarray_add_text(a, *(const char *const *)(const void *)((const char *)&items[i] + offset));
	add_array(params);
}

enum err calls_attach(struct pipeline *p, const struct attach_call *c, const struct attach_item *items, size_t count,
		      attach_answer answer, void *context)
{
	struct params params = {0};

	add_item_texts(&params, items, count, offsetof(struct attach_item, user_id));
	add_item_texts(&params, items, count, offsetof(struct attach_item, role));
	add_item_texts(&params, items, count, offsetof(struct attach_item, topic));
	add_text(&params, c->require_user ? "true" : "false");
	add_text(&params, c->node_id);
	add_number(&params, c->opened_ever);
	add_item_texts(&params, items, count, offsetof(struct attach_item, connection_id));
	add_item_texts(&params, items, count, offsetof(struct attach_item, transport));
	add_item_texts(&params, items, count, offsetof(struct attach_item, connected_at));
	return send_call(p, &attach_statement, &params, on_attach,
			 &(struct call){.to.attach = answer, .context = context, .count = count});
}

/* ---- fetch, unsent */

static const struct pipeline_statement fetch_statement = {"fetch",
							  "select topic_id, seq, to_user, exclude, body, revocation, "
							  "expires_in_ms from tidings.fetch($1, $2, $3, $4, $5)"};

static const struct pipeline_statement unsent_statement = {"unsent",
							   "select 0::int8, seq, $2::text, null::text, body, false, "
							   "expires_in_ms from tidings.unsent($1, $2, $3, $4, $5, $6)"};

/* From the database's clock to ours: only what is left of the time is told. 0: it never expires. */
static int64_t expiry_at(const PGresult *r, int row, int column, int64_t now_ms)
{
	int64_t in_ms = int8_at(r, row, column);

	return PQgetisnull(r, row, column) ? 0 : now_ms + MIN(MAX(in_ms, 0), EXPIRY_MAX_MS);
}

static void on_fetch(void *context, enum err e, const PGresult *rows)
{
	struct call call = *(struct call *)context;
	size_t count = e == OK ? (size_t)PQntuples(rows) : 0;
	int64_t now_ms = clock_monotonic_ms();
	struct fetch_row *made = count > 0 ? calloc(count, sizeof(*made)) : NULL;
	struct uuid *excludes = count > 0 ? calloc(count, sizeof(*excludes)) : NULL;

	free(context);
	if (count > 0 && (!made || !excludes)) {
		e = ERR_MEMORY;
		count = 0;
	}
	for (int i = 0; i < (int)count; i++) {
		const char *exclude = text_at(rows, i, 3), *body = text_at(rows, i, 4);
		size_t body_len = body ? (size_t)PQgetlength(rows, i, 4) : 0;

		made[i].topic_id = call.topic_id ? call.topic_id : int8_at(rows, i, 0);
		made[i].other_epoch = PQgetisnull(rows, i, 1);
		made[i].message.seq = (uint64_t)int8_at(rows, i, 1);
		made[i].message.to_user = text_at(rows, i, 2);
		if (exclude && uuid_parse(&excludes[i], exclude, strlen(exclude)))
			made[i].message.exclude = &excludes[i];
		made[i].revocation = bool_at(rows, i, 5);
		/* "{}" at least: it is one that tidings.publish_batch() took. */
		if (body_len >= 2 && body[0] == '{' && !made[i].revocation)
			made[i].message.body = (struct span){body, body_len};
		made[i].message.expires_ms = expiry_at(rows, i, 6, now_ms);
	}
	call.to.fetch(call.context, e, made, count);
	free(made);
	free(excludes);
}

enum err calls_fetch(struct pipeline *p, const int64_t *topic_ids, const int64_t *after, const char *const *epochs,
		     size_t count, int64_t rows_max, int64_t bytes_max, fetch_answer answer, void *context)
{
	struct params params = {0};

	add_numbers(&params, topic_ids, count);
	add_numbers(&params, after, count);
	add_texts(&params, epochs, count);
	add_number(&params, rows_max);
	add_number(&params, bytes_max);
	return send_call(p, &fetch_statement, &params, on_fetch,
			 &(struct call){.to.fetch = answer, .context = context});
}

enum err calls_unsent(struct pipeline *p, const struct unsent *u, int64_t rows_max, int64_t bytes_max,
		      fetch_answer answer, void *context)
{
	struct params params = {0};

	add_number(&params, u->topic_id);
	add_text(&params, u->user_id);
	add_number(&params, (int64_t)u->after);
	add_number(&params, (int64_t)u->up_to);
	add_number(&params, rows_max);
	add_number(&params, bytes_max);
	return send_call(p, &unsent_statement, &params, on_fetch,
			 &(struct call){.to.fetch = answer, .context = context, .topic_id = u->topic_id});
}

/* ---- flush, farewell */

static const struct pipeline_statement flush_statement = {
	"flush", "select tidings.flush($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"};

static const struct pipeline_statement farewell_statement = {"farewell", "select tidings.farewell($1)"};

static void on_plain(void *context, enum err e, const PGresult *rows)
{
	struct call call = *(struct call *)context;

	(void)rows;
	free(context);
	if (call.to.plain)
		call.to.plain(call.context, e);
}

enum err calls_flush(struct pipeline *p, const char *node_id, const struct flush *f, plain_answer answer, void *context)
{
	struct params params = {0};

	add_text(&params, node_id);
	add_numbers(&params, f->presence_topics, f->presence_count);
	add_numbers(&params, f->presence_clients, f->presence_count);
	add_texts(&params, f->opened_ids, f->opened_count);
	add_numbers(&params, f->opened_topics, f->opened_count);
	add_texts(&params, f->opened_users, f->opened_count);
	add_texts(&params, f->opened_transports, f->opened_count);
	add_texts(&params, f->opened_at, f->opened_count);
	add_texts(&params, f->closed_ids, f->closed_count);
	add_numbers(&params, f->closed_topics, f->closed_count);
	add_numbers(&params, f->delivered_topics, f->delivered_count);
	add_numbers(&params, f->delivered_seqs, f->delivered_count);
	add_texts(&params, f->delivered_epochs, f->delivered_count);
	add_numbers(&params, f->sent_topics, f->sent_count);
	add_numbers(&params, f->sent_seqs, f->sent_count);
	add_texts(&params, f->sent_epochs, f->sent_count);
	add_number(&params, f->opened_ever);
	return send_call(p, &flush_statement, &params, on_plain,
			 &(struct call){.to.plain = answer, .context = context});
}

enum err calls_farewell(struct pipeline *p, const char *node_id, plain_answer answer, void *context)
{
	struct params params = {0};

	add_text(&params, node_id);
	return send_call(p, &farewell_statement, &params, on_plain,
			 &(struct call){.to.plain = answer, .context = context});
}

/* ---- heartbeat, moved */

static const struct pipeline_statement heartbeat_statement = {
	"heartbeat", "select topic_id, last_seq, epoch from tidings.heartbeat($1, $2, $3, $4, $5, $6, $7)"};

static const struct pipeline_statement moved_statement = {
	"moved", "select topic_id, last_seq, epoch from tidings.moved($1, $2, $3)"};

static void on_heartbeat(void *context, enum err e, const PGresult *rows)
{
	struct call call = *(struct call *)context;
	size_t count = e == OK ? (size_t)PQntuples(rows) : 0;
	struct moved_row *made = count > 0 ? calloc(count, sizeof(*made)) : NULL;

	free(context);
	if (count > 0 && !made) {
		e = ERR_MEMORY;
		count = 0;
	}
	for (int i = 0; i < (int)count; i++)
		made[i] = (struct moved_row){int8_at(rows, i, 0), int8_at(rows, i, 1), text_at(rows, i, 2)};
	call.to.heartbeat(call.context, e, made, count);
	free(made);
}

static void add_topics(struct params *p, const struct known_topics *topics)
{
	add_numbers(p, topics->ids, topics->count);
	add_numbers(p, topics->last_seqs, topics->count);
	add_texts(p, topics->epochs, topics->count);
}

enum err calls_heartbeat(struct pipeline *p, const struct heartbeat *h, heartbeat_answer answer, void *context)
{
	struct params params = {0};

	add_text(&params, h->node_id);
	add_text(&params, h->started_at);
	add_number(&params, h->connections);
	add_number(&params, h->opened);
	add_topics(&params, h->topics);
	return send_call(p, &heartbeat_statement, &params, on_heartbeat,
			 &(struct call){.to.heartbeat = answer, .context = context});
}

enum err calls_moved(struct pipeline *p, const struct known_topics *topics, heartbeat_answer answer, void *context)
{
	struct params params = {0};

	add_topics(&params, topics);
	return send_call(p, &moved_statement, &params, on_heartbeat,
			 &(struct call){.to.heartbeat = answer, .context = context});
}

static const struct pipeline_statement state_statement = {
	"state", "select coalesce(" SCHEMA_APPLIED
		 " = $1, false)::int::int8, (not o.stuck)::int::int8 from tidings.outbox_state() o"};

static void on_state(void *context, enum err e, const PGresult *rows)
{
	struct call call = *(struct call *)context;

	free(context);
	if (e == OK && PQntuples(rows) != 1)
		e = ERR_DATABASE;
	call.to.state(call.context, e, e == OK && int8_at(rows, 0, 0) == 1, e == OK && int8_at(rows, 0, 1) == 1);
}

enum err calls_state(struct pipeline *p, state_answer answer, void *context)
{
	struct params params = {0};

	add_text(&params, schema_files);
	return send_call(p, &state_statement, &params, on_state,
			 &(struct call){.to.state = answer, .context = context});
}

/* ---- live health */

static const struct pipeline_statement admit_statement = {"admit",
							  "select tidings.admit($1, $2, $3, $4, $5, $6::boolean, $7)"};

static void on_admit(void *context, enum err e, const PGresult *rows)
{
	struct call call = *(struct call *)context;
	const char *outcome;

	free(context);
	if (e == OK) {
		outcome = PQntuples(rows) == 1 ? text_at(rows, 0, 0) : NULL;
		if (!outcome)
			e = ERR_DATABASE;
		else if (strcmp(outcome, "ok") != 0)
			e = strcmp(outcome, "no_user") == 0 ? ERR_UNAUTHORIZED : ERR_LIMIT;
	}
	call.to.admit(call.context, e);
}

enum err calls_admit(struct pipeline *p, const struct admission *a, admit_answer answer, void *context)
{
	struct params params = {0};

	add_text(&params, a->node_id);
	add_text(&params, a->user_id);
	add_text(&params, a->connection_id);
	add_text(&params, a->transport);
	add_text(&params, a->connected_at);
	add_text(&params, a->require_user ? "true" : "false");
	add_number(&params, a->connections_max);
	return send_call(p, &admit_statement, &params, on_admit,
			 &(struct call){.to.admit = answer, .context = context});
}

static const struct pipeline_statement act_statement = {
	"act",
	"select outcome, detail, reply, case outcome when 'ok' then tidings.act_size($4::text, $5::json) else 1 end "
	"from tidings.act($1, $2, $3, $4::text, $5::json, $6, $7, $8, $9::boolean, $10)"};

static void on_act(void *context, enum err e, const PGresult *rows)
{
	struct call call = *(struct call *)context;
	struct act_row row = {0};

	free(context);
	if (e == OK && PQntuples(rows) != 1)
		e = ERR_DATABASE;
	if (e == OK) {
		row = (struct act_row){act_outcome(text_at(rows, 0, 0)), text_at(rows, 0, 1), text_at(rows, 0, 2),
				       int8_at(rows, 0, 3)};
		if (row.outcome == ERR_DATABASE || (row.outcome == OK && !row.reply))
			e = ERR_DATABASE;
	}
	call.to.act(call.context, e, e == OK ? &row : NULL);
}

enum err calls_act(struct pipeline *p, const struct act *a, act_answer answer, void *context)
{
	struct params params = {0};

	add_text(&params, a->user_id);
	add_text(&params, a->role);
	add_text(&params, a->connection_id);
	add_text(&params, a->type);
	add_text(&params, a->data);
	add_text(&params, a->correlation);
	add_number(&params, a->queue_max);
	add_number(&params, a->queue_min_age_s);
	add_text(&params, a->require_user ? "true" : "false");
	add_number(&params, a->daily_max_kib);
	return send_call(p, &act_statement, &params, on_act, &(struct call){.to.act = answer, .context = context});
}

static const struct pipeline_statement redeliver_statement = {"redeliver", "select tidings.redeliver(array[$1::text])"};

static void on_redeliver(void *context, enum err e, const PGresult *rows)
{
	struct call call = *(struct call *)context;

	free(context);
	if (e == OK && PQntuples(rows) != 1)
		e = ERR_DATABASE;
	call.to.redeliver(call.context, e, e == OK ? int8_at(rows, 0, 0) : 0);
}

enum err calls_redeliver(struct pipeline *p, const char *user_id, redeliver_answer answer, void *context)
{
	struct params params = {0};

	add_text(&params, user_id);
	return send_call(p, &redeliver_statement, &params, on_redeliver,
			 &(struct call){.to.redeliver = answer, .context = context});
}

static const struct pipeline_statement accounts_statement = {
	"accounts", "select w.id from unnest($1::text[], tidings.user_active($1)) as w(id, active) where not w.active"};

static void on_accounts(void *context, enum err e, const PGresult *rows)
{
	struct call call = *(struct call *)context;
	size_t count = e == OK ? (size_t)PQntuples(rows) : 0;
	const char **made = count > 0 ? calloc(count, sizeof(*made)) : NULL;

	free(context);
	if (count > 0 && !made) {
		e = ERR_MEMORY;
		count = 0;
	}
	for (int i = 0; i < (int)count; i++)
		made[i] = text_at(rows, i, 0);
	call.to.accounts(call.context, e, made, count);
	free(made);
}

enum err calls_accounts(struct pipeline *p, const char *const *user_ids, size_t count, accounts_answer answer,
			void *context)
{
	struct params params = {0};

	add_texts(&params, user_ids, count);
	return send_call(p, &accounts_statement, &params, on_accounts,
			 &(struct call){.to.accounts = answer, .context = context});
}

static const struct pipeline_statement report_statement = {
	"report", "select tidings.report($1, array[$2::text], array[$3::text], array[$4::text])"};

enum err calls_report(struct pipeline *p, const char *node_id, const char *connection_id, const char *last_activity,
		      const char *state)
{
	struct params params = {0};

	add_text(&params, node_id);
	add_text(&params, connection_id);
	add_text(&params, last_activity);
	add_text(&params, state);
	return send_call(p, &report_statement, &params, on_plain, &(struct call){0});
}

/* ---- relay, sweep: one number, or NULL */

static const struct pipeline_statement relay_statement = {"relay", "select tidings.relay($1, $2)"};
static const struct pipeline_statement sweep_statement = {"sweep", "select tidings.sweep($1, $2, $3, $4, $5, $6, $7)"};

#define SWEEP_TOPICS 500 /* in one transaction */
#define SWEEP_ROWS 1000

static void on_relay(void *context, enum err e, const PGresult *rows)
{
	struct call call = *(struct call *)context;
	bool found = e == OK && PQntuples(rows) == 1 && !PQgetisnull(rows, 0, 0);

	free(context);
	call.to.relay(call.context, e, found ? int8_at(rows, 0, 0) : INT64_MAX);
}

static void on_sweep(void *context, enum err e, const PGresult *rows)
{
	struct call call = *(struct call *)context;
	bool found = e == OK && PQntuples(rows) == 1 && !PQgetisnull(rows, 0, 0);

	free(context);
	call.to.sweep(call.context, e, found ? int8_at(rows, 0, 0) : -1);
}

enum err calls_relay(struct pipeline *p, int64_t queue_max, int64_t queue_min_age_s, relay_answer answer, void *context)
{
	struct params params = {0};

	add_number(&params, queue_max);
	add_number(&params, queue_min_age_s);
	return send_call(p, &relay_statement, &params, on_relay,
			 &(struct call){.to.relay = answer, .context = context});
}

enum err calls_sweep(struct pipeline *p, int64_t after_id, int64_t queue_max, int64_t queue_min_age_s,
		     int64_t queue_ttl_s, int64_t keep_topics_s, sweep_answer answer, void *context)
{
	struct params params = {0};

	if (after_id < 0)
		add_text(&params, NULL);
	else
		add_number(&params, after_id);
	add_number(&params, SWEEP_TOPICS);
	add_number(&params, SWEEP_ROWS);
	add_number(&params, queue_max);
	add_number(&params, queue_min_age_s);
	add_number(&params, queue_ttl_s);
	add_number(&params, keep_topics_s);
	return send_call(p, &sweep_statement, &params, on_sweep,
			 &(struct call){.to.sweep = answer, .context = context});
}
