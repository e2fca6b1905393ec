#include "store/async/pipeline.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/log/log.h"
#include "store/async/pg_connection_internal.h"
#include "store/async/pipeline_internal.h"
#include "store/wire/session_setup.h"
#include "store/wire/sqlstate.h"

#define STATEMENTS_MAX 16

struct pending_statement {
	STAILQ_ENTRY(pending_statement) next;
	const struct statement *statement;
	pipeline_answer answer;
	void *context;
	struct pipeline_params params; /* of one that waits: in the same piece of memory */
};

STAILQ_HEAD(pending_list, pending_statement);

struct pipeline {
	struct pg_connection *connection; /* owned */
	const struct pipeline_ops *ops;
	void *loop;
	void *context;
	int64_t timeout_ms;
	bool closing;
	struct pending_list under_way;
	struct pending_list waiting; /* through a pooler: until nothing is under way */
	PGresult *result;	     /* of the first under way, until its end is seen */
	const struct statement *prepared[STATEMENTS_MAX];
	size_t prepared_count;
};

static void answer(struct pending_statement *r, enum err e, const PGresult *rows)
{
	if (r->answer)
		r->answer(r->context, e, rows);
	free(r);
}

static void answer_all_away(struct pipeline *p)
{
	struct pending_list lost = STAILQ_HEAD_INITIALIZER(lost);
	struct pending_statement *r;

	/* Answering may send again: onto lists that are empty now. */
	STAILQ_CONCAT(&lost, &p->under_way);
	STAILQ_CONCAT(&lost, &p->waiting);
	PQclear(p->result);
	p->result = NULL;
	while ((r = STAILQ_FIRST(&lost))) {
		STAILQ_REMOVE_HEAD(&lost, next);
		answer(r, ERR_AWAY, NULL);
	}
}

static enum err result_err(const PGresult *result, const struct statement *s)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	char quoted[256];

	if (PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK)
		return OK;
	if (!message)
		message = "";
	log_error("database statement=%s sqlstate=%s message=%s", s->name, sqlstate ? sqlstate : "",
		  log_quote(quoted, sizeof(quoted), message, strlen(message)));
	return sqlstate_err(sqlstate);
}

/* Of what a statement gives (a PREPARE or the timeouts ride in front of it) the first error counts, else the last. */
static void keep(struct pipeline *p, PGresult *result)
{
	ExecStatusType so_far = p->result ? PQresultStatus(p->result) : PGRES_COMMAND_OK;

	if (so_far == PGRES_COMMAND_OK || so_far == PGRES_TUPLES_OK) {
		PQclear(p->result);
		p->result = result;
	} else {
		PQclear(result);
	}
}

static void send_waiting(struct pipeline *p);

static void on_readable(void *context)
{
	struct pipeline *p = context;
	PGconn *connection;

	/* A NULL result only parts the answers from each other. */
	while ((connection = pg_connection_handle(p->connection)) && !PQisBusy(connection)) {
		PGresult *result = PQgetResult(connection);
		struct pending_statement *first = STAILQ_FIRST(&p->under_way);

		if (!result && (!first || PQisBusy(connection)))
			break;
		if (!result)
			continue;
		if (!first) {
			PQclear(result);
			pg_connection_drop(p->connection, "an answer that nobody asked for");
			return;
		}
		if (sqlstate_is_missing(connection, result)) {
			PQclear(result);
			pg_connection_drop(p->connection, "no memory for an answer");
			return;
		}
		if (PQresultStatus(result) != PGRES_PIPELINE_SYNC) {
			keep(p, result);
			continue;
		}
		PQclear(result);
		STAILQ_REMOVE_HEAD(&p->under_way, next);
		/* The server begins with a statement when it has answered the one before. */
		pg_connection_await(p->connection, !STAILQ_EMPTY(&p->under_way));

		PGresult *rows = p->result;
		enum err e = rows ? result_err(rows, first->statement) : ERR_DATABASE;
		bool unreplicated = pg_connection_take_unreplicated(p->connection);
		const char *sqlstate = rows && e != OK ? PQresultErrorField(rows, PG_DIAG_SQLSTATE) : NULL;
		bool no_primary = sqlstate_leaves_server(sqlstate);
		bool spoilt = sqlstate_spoils_connection(sqlstate);

		if (e == OK && unreplicated) {
			log_warning("database commit is not replicated statement=%s", first->statement->name);
			e = ERR_UNKNOWN;
		}
		p->result = NULL;
		answer(first, e, e == OK ? rows : NULL);
		PQclear(rows);
		if (no_primary)
			pg_connection_leave_server(p->connection, PG_CONNECTION_NO_PRIMARY);
		if (spoilt) {
			pg_connection_drop(p->connection, "the server said that it goes away");
			return;
		}
		send_waiting(p);
	}
	if (connection)
		session_setup_drop_notifications(connection);
}

static void on_up(void *context)
{
	struct pipeline *p = context;

	p->prepared_count = 0;
	if (!PQenterPipelineMode(pg_connection_handle(p->connection))) {
		pg_connection_drop(p->connection, "no pipeline mode");
		return;
	}
	p->ops->up(p->context);
}

static void on_down(void *context)
{
	struct pipeline *p = context;

	answer_all_away(p);
	p->ops->down(p->context);
}

static void on_watch(void *context, int fd, bool read, bool write, int64_t due_ms)
{
	struct pipeline *p = context;

	p->ops->watch(p->loop, fd, read, write, due_ms);
}

static void on_probe(void *context);

static const struct pg_connection_ops connection_ops = {
	.watch = on_watch, .up = on_up, .down = on_down, .readable = on_readable, .probe = on_probe};

enum err pipeline_open(struct pipeline **p, const char *name, const char *application_name, struct hosts *hosts,
		       int64_t timeout_ms, const struct pipeline_ops *ops, void *loop, void *context)
{
	struct pipeline *made = calloc(1, sizeof(*made));
	enum err e;

	if (!made)
		return ERR_MEMORY;
	STAILQ_INIT(&made->under_way);
	STAILQ_INIT(&made->waiting);
	made->ops = ops;
	made->loop = loop;
	made->context = context;
	made->timeout_ms = timeout_ms;
	*p = made;
	e = pg_connection_open(&made->connection, name, hosts, "tidings_sidecar", application_name, timeout_ms,
			       &connection_ops, made, made);
	if (e != OK) {
		free(made);
		*p = NULL;
	}
	return e;
}

void pipeline_close(struct pipeline **p)
{
	if (!*p)
		return;
	(*p)->closing = true;
	answer_all_away(*p);
	pg_connection_close(&(*p)->connection);
	free(*p);
	*p = NULL;
}

bool pipeline_is_up(const struct pipeline *p)
{
	return p && pg_connection_is_up(p->connection);
}

struct pg_connection *pipeline_connection(struct pipeline *p)
{
	return p->connection;
}

/* Rides along in front of the statement itself. */
static bool prepare(struct pipeline *p, PGconn *connection, const struct statement *s)
{
	for (size_t i = 0; i < p->prepared_count; i++) {
		if (p->prepared[i] == s)
			return true;
	}
	if (p->prepared_count == STATEMENTS_MAX || !PQsendPrepare(connection, s->name, s->sql, 0, NULL))
		return false;
	p->prepared[p->prepared_count++] = s;
	return true;
}

static bool send_prepared(struct pipeline *p, PGconn *connection, const struct statement *s,
			  const struct pipeline_params *params)
{
	return prepare(p, connection, s) && PQsendQueryPrepared(connection, s->name, params->count, params->values,
								params->lengths, params->formats, 1);
}

static bool send_whole(struct pipeline *p, PGconn *connection, const struct statement *s,
		       const struct pipeline_params *params)
{
	return session_setup_send_for_transaction(connection, p->timeout_ms) &&
	       PQsendQueryParams(connection, s->sql, params->count, NULL, params->values, params->lengths,
				 params->formats, 1);
}

static enum err send_now(struct pipeline *p, struct pending_statement *r, const struct pipeline_params *params)
{
	PGconn *connection = pg_connection_handle(p->connection);
	bool sent = pg_connection_is_pooled(p->connection) ? send_whole(p, connection, r->statement, params)
							   : send_prepared(p, connection, r->statement, params);

	if (!sent || !PQpipelineSync(connection))
		return ERR_AWAY;
	if (STAILQ_EMPTY(&p->under_way))
		pg_connection_await(p->connection, true);
	STAILQ_INSERT_TAIL(&p->under_way, r, next);
	pg_connection_flush(p->connection);
	return OK;
}

/* What one that waits was given: it is the caller's only until pipeline_send() returns. */
static struct pending_statement *with_params(const struct pipeline_params *given)
{
	size_t count = (size_t)given->count,
	       size = sizeof(struct pending_statement) + count * (sizeof(char *) + 2 * sizeof(int));
	struct pending_statement *r;
	const char **values;
	int *lengths, *formats;
	char *bytes;

	for (size_t i = 0; i < count; i++)
		size += !given->values[i]   ? 0
			: given->formats[i] ? (size_t)given->lengths[i]
					    : strlen(given->values[i]) + 1;
	r = calloc(1, size);
	if (!r)
		return NULL;
	values = (const char **)(r + 1);
	lengths = (int *)(values + count);
	formats = lengths + count;
	bytes = (char *)(formats + count);
	for (size_t i = 0; i < count; i++) {
		size_t len = 0;

		formats[i] = given->formats[i];
		lengths[i] = given->lengths[i];
		if (!given->values[i])
			continue;
		len = formats[i] ? (size_t)lengths[i] : strlen(given->values[i]) + 1;
		memcpy(bytes, given->values[i], len);
		values[i] = bytes;
		bytes += len;
	}
	r->params = (struct pipeline_params){given->count, values, lengths, formats};
	return r;
}

static void send_waiting(struct pipeline *p)
{
	struct pending_statement *r = STAILQ_FIRST(&p->waiting);

	if (!r || !STAILQ_EMPTY(&p->under_way) || !pg_connection_handle(p->connection))
		return;
	STAILQ_REMOVE_HEAD(&p->waiting, next);
	if (send_now(p, r, &r->params) == OK)
		return;
	STAILQ_INSERT_HEAD(&p->waiting, r, next);
	pg_connection_drop(p->connection, PQerrorMessage(pg_connection_handle(p->connection)));
}

enum err pipeline_send(struct pipeline *p, const struct statement *s, const struct pipeline_params *params,
		       pipeline_answer to, void *context)
{
	PGconn *connection = !p || p->closing ? NULL : pg_connection_handle(p->connection);
	bool must_wait = connection && pg_connection_is_pooled(p->connection) && !STAILQ_EMPTY(&p->under_way);
	struct pending_statement *r;

	if (!connection)
		return ERR_AWAY;
	r = must_wait ? with_params(params) : calloc(1, sizeof(*r));
	if (!r)
		return ERR_MEMORY;
	r->statement = s;
	r->answer = to;
	r->context = context;
	if (must_wait) {
		STAILQ_INSERT_TAIL(&p->waiting, r, next);
	} else if (send_now(p, r, params) != OK) {
		free(r);
		pg_connection_drop(p->connection, PQerrorMessage(connection));
		return ERR_AWAY;
	}
	return OK;
}

static void on_probed(void *context, enum err e, const PGresult *rows)
{
	struct pipeline *p = context;

	if (e == OK && PQntuples(rows) == 1 && PQgetvalue(rows, 0, 0)[0])
		pg_connection_leave_server(p->connection, PG_CONNECTION_NO_PRIMARY);
}

static void on_probe(void *context)
{
	static const struct statement probe = {"probe", PG_CONNECTION_PROBE};
	static const struct pipeline_params none;
	struct pipeline *p = context;

	if (pipeline_send(p, &probe, &none, on_probed, p) != OK)
		pg_connection_drop(p->connection, "a probe cannot be sent");
}
