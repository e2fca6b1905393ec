#include "store/hello.h"

#include <inttypes.h>
#include <stdio.h>

#define NUMBER_SIZE 24

bool hello_send(PGconn *connection, int64_t timeout_ms)
{
	char pid[NUMBER_SIZE], timeout[NUMBER_SIZE];
	const char *const values[] = {pid, timeout};

	snprintf(pid, sizeof(pid), "%d", PQbackendPID(connection));
	snprintf(timeout, sizeof(timeout), "%" PRId64, timeout_ms);
	return PQsendQueryParams(
		       connection,
		       "SELECT pg_backend_pid() <> $1::int, CASE WHEN pg_backend_pid() = $1::int THEN "
		       "set_config('statement_timeout', $2, false) || set_config('lock_timeout', $2, false) || "
		       "set_config('idle_in_transaction_session_timeout', $2, false) END",
		       ARRAY_LEN(values), NULL, values, NULL, NULL, 0) == 1;
}

bool hello_read(const PGresult *answer, bool *pooled)
{
	if (PQresultStatus(answer) != PGRES_TUPLES_OK || PQntuples(answer) != 1)
		return false;
	*pooled = PQgetvalue(answer, 0, 0)[0] == 't';
	return true;
}

bool hello_send_timeouts(PGconn *connection, int64_t timeout_ms)
{
	char timeout[NUMBER_SIZE];
	const char *const values[] = {timeout};

	snprintf(timeout, sizeof(timeout), "%" PRId64, timeout_ms);
	return PQsendQueryParams(
		       connection,
		       "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true)",
		       ARRAY_LEN(values), NULL, values, NULL, NULL, 0) == 1;
}

void hello_drop_notifications(PGconn *connection)
{
	PGnotify *n;

	while ((n = PQnotifies(connection)))
		PQfreemem(n);
}
