#include "store/sidecar/sql_node.h"

#include <stdlib.h>

#include "store/sidecar/sql_call.h"

struct plain_call {
	plain_answer answer;
	void *context;
};

struct heartbeat_call {
	heartbeat_answer answer;
	void *context;
};

static const struct statement flush_statement = {"flush",
						 "select tidings.flush($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, "
						 "$12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)"};

static const struct statement farewell_statement = {"farewell", "select tidings.farewell($1)"};

static void on_plain(void *context, enum err e, const PGresult *rows)
{
	struct plain_call call = *(struct plain_call *)context;

	(void)rows;
	free(context);
	if (call.answer)
		call.answer(call.context, e);
}

enum err sql_flush(struct pipeline *p, const char *node_id, const struct flush *f, plain_answer answer, void *context)
{
	struct sql_params params = {0};

	sql_add_text(&params, node_id);
	sql_add_numbers(&params, f->presence_topics, f->presence_count);
	sql_add_numbers(&params, f->presence_clients, f->presence_count);
	sql_add_texts(&params, f->opened_ids, f->opened_count);
	sql_add_numbers(&params, f->opened_topics, f->opened_count);
	sql_add_texts(&params, f->opened_users, f->opened_count);
	sql_add_texts(&params, f->opened_transports, f->opened_count);
	sql_add_texts(&params, f->opened_at, f->opened_count);
	sql_add_texts(&params, f->closed_ids, f->closed_count);
	sql_add_numbers(&params, f->closed_topics, f->closed_count);
	sql_add_numbers(&params, f->delivered_topics, f->delivered_count);
	sql_add_numbers(&params, f->delivered_seqs, f->delivered_count);
	sql_add_texts(&params, f->delivered_epochs, f->delivered_count);
	sql_add_numbers(&params, f->sent_topics, f->sent_count);
	sql_add_numbers(&params, f->sent_seqs, f->sent_count);
	sql_add_texts(&params, f->sent_epochs, f->sent_count);
	sql_add_number(&params, f->opened_ever);
	sql_add_numbers(&params, f->confirmed_seqs, f->delivered_count);
	sql_add_texts(&params, f->device_users, f->devices_count);
	sql_add_texts(&params, f->device_names, f->devices_count);
	sql_add_texts(&params, f->device_topics, f->devices_count);
	sql_add_texts(&params, f->device_epochs, f->devices_count);
	sql_add_numbers(&params, f->device_seqs, f->devices_count);
	return sql_send(p, &flush_statement, &params, on_plain,
			&(struct plain_call){.answer = answer, .context = context}, sizeof(struct plain_call));
}

enum err sql_farewell(struct pipeline *p, const char *node_id, plain_answer answer, void *context)
{
	struct sql_params params = {0};

	sql_add_text(&params, node_id);
	return sql_send(p, &farewell_statement, &params, on_plain,
			&(struct plain_call){.answer = answer, .context = context}, sizeof(struct plain_call));
}

static const struct statement notify_statement = {"notify", "select pg_notify($1, '')"};

enum err sql_notify(struct pipeline *p, const char *channel, plain_answer answer, void *context)
{
	struct sql_params params = {0};

	sql_add_text(&params, channel);
	return sql_send(p, &notify_statement, &params, on_plain,
			&(struct plain_call){.answer = answer, .context = context}, sizeof(struct plain_call));
}

static const struct statement heartbeat_statement = {
	"heartbeat", "select topic_id, last_seq, epoch from tidings.heartbeat($1, $2, $3, $4, $5, $6, $7, $8, "
		     "$9::int8)"};

static const struct statement moved_statement = {"moved",
						 "select topic_id, last_seq, epoch from tidings.moved($1, $2, $3)"};

static void on_heartbeat(void *context, enum err e, const PGresult *rows)
{
	struct heartbeat_call call = *(struct heartbeat_call *)context;
	size_t count = e == OK ? (size_t)PQntuples(rows) : 0;
	struct moved_row *made = count > 0 ? calloc(count, sizeof(*made)) : NULL;

	free(context);
	if (count > 0 && !made) {
		e = ERR_MEMORY;
		count = 0;
	}
	for (int i = 0; i < (int)count; i++)
		made[i] = (struct moved_row){sql_int8_at(rows, i, 0), sql_int8_at(rows, i, 1), sql_text_at(rows, i, 2)};
	call.answer(call.context, e, made, count);
	free(made);
}

static void add_topics(struct sql_params *p, const struct known_topics *topics)
{
	sql_add_numbers(p, topics->ids, topics->count);
	sql_add_numbers(p, topics->last_seqs, topics->count);
	sql_add_texts(p, topics->epochs, topics->count);
}

enum err sql_heartbeat(struct pipeline *p, const struct heartbeat *h, heartbeat_answer answer, void *context)
{
	struct sql_params params = {0};

	sql_add_text(&params, h->node_id);
	sql_add_text(&params, h->started_at);
	sql_add_number(&params, h->connections);
	sql_add_number(&params, h->opened);
	add_topics(&params, h->topics);
	sql_add_bool(&params, h->draining);
	if (h->presence_grace_ms < 0)
		sql_add_text(&params, NULL);
	else
		sql_add_number(&params, h->presence_grace_ms);
	return sql_send(p, &heartbeat_statement, &params, on_heartbeat,
			&(struct heartbeat_call){.answer = answer, .context = context}, sizeof(struct heartbeat_call));
}

enum err sql_moved(struct pipeline *p, const struct known_topics *topics, heartbeat_answer answer, void *context)
{
	struct sql_params params = {0};

	add_topics(&params, topics);
	return sql_send(p, &moved_statement, &params, on_heartbeat,
			&(struct heartbeat_call){.answer = answer, .context = context}, sizeof(struct heartbeat_call));
}

static const struct statement report_statement = {"report", "select tidings.report($1, $2, $3, $4, $5, $6)"};

enum err sql_report(struct pipeline *p, const char *node_id, const struct connection_reports *r)
{
	struct sql_params params = {0};

	sql_add_text(&params, node_id);
	sql_add_texts(&params, r->ids, r->count);
	sql_add_texts(&params, r->last_activities, r->count);
	sql_add_texts(&params, r->states, r->count);
	sql_add_numbers(&params, r->lags, r->count);
	sql_add_numbers(&params, r->waiting_bytes, r->count);
	return sql_send(p, &report_statement, &params, on_plain, &(struct plain_call){0}, sizeof(struct plain_call));
}
