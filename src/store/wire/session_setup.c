#include "store/wire/session_setup.h"

#include <inttypes.h>
#include <stdio.h>

#define NUMBER_SIZE 24

/* What it is, unless that means that a commit is answered before it is kept. */
#define SYNCHRONOUS_COMMIT                                                               \
	"CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on' " \
	"ELSE current_setting('synchronous_commit') END"

bool session_setup_send(PGconn *connection, int64_t timeout_ms)
{
	char pid[NUMBER_SIZE], timeout[NUMBER_SIZE];
	const char *const values[] = {pid, timeout};

	snprintf(pid, sizeof(pid), "%d", PQbackendPID(connection));
	snprintf(timeout, sizeof(timeout), "%" PRId64, timeout_ms);
	return PQsendQueryParams(connection,
				 "SELECT pg_backend_pid() <> $1::int, "
				 "pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', "
				 "CASE WHEN pg_backend_pid() = $1::int THEN set_config('statement_timeout', $2, false) "
				 "|| set_config('lock_timeout', $2, false) "
				 "|| set_config('idle_in_transaction_session_timeout', $2, false) "
				 "|| set_config('default_transaction_isolation', 'read committed', false) "
				 "|| set_config('synchronous_commit', " SYNCHRONOUS_COMMIT ", false) END",
				 ARRAY_LEN(values), NULL, values, NULL, NULL, 0) == 1;
}

bool session_setup_read(const PGresult *answer, bool *pooled, const char **why)
{
	*why = NULL;
	if (PQresultStatus(answer) != PGRES_TUPLES_OK)
		*why = PQresultErrorMessage(answer);
	else if (PQntuples(answer) != 1 || PQnfields(answer) < 2)
		*why = "an answer to something else";
	else if (PQgetvalue(answer, 0, 1)[0] == 't')
		*why = "a standby, or read-only by its settings";
	else
		*pooled = PQgetvalue(answer, 0, 0)[0] == 't';
	return *why == NULL;
}

bool session_setup_send_for_transaction(PGconn *connection, int64_t timeout_ms)
{
	char timeout[NUMBER_SIZE];
	const char *const values[] = {timeout};

	snprintf(timeout, sizeof(timeout), "%" PRId64, timeout_ms);
	/* The isolation comes before the first query, and SET is none. */
	return PQsendQueryParams(connection, "SET transaction_isolation = 'read committed'", 0, NULL, NULL, NULL, NULL,
				 0) == 1 &&
	       PQsendQueryParams(
		       connection,
		       "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true), "
		       "set_config('synchronous_commit', " SYNCHRONOUS_COMMIT ", true)",
		       ARRAY_LEN(values), NULL, values, NULL, NULL, 0) == 1;
}

void session_setup_drop_notifications(PGconn *connection)
{
	PGnotify *n;

	while ((n = PQnotifies(connection)))
		PQfreemem(n);
}
