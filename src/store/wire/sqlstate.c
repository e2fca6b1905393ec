#include "store/wire/sqlstate.h"

#include <stddef.h>
#include <string.h>

#include "base/defs.h"

/* A prefix, so that a whole class can be named. */
static const char *const away[] = {
	"08",	 /* connection exceptions */
	"25P03", /* idle in transaction for too long */
	"53",	 /* out of disk, memory or connections */
	"57P",	 /* shutdown, crash, starting up, database dropped, idle timeout */
	"58",	 /* input/output error of the server */
};

static const char *const busy[] = {
	"40001", /* serialization failure */
	"40P01", /* deadlock */
	"55P03", /* lock_timeout */
	"57014", /* statement_timeout, or an administrator's cancel */
};

static const char *const spoils[] = {
	"26000", /* what was prepared is gone: a pooler gave us another server */
	"42P05", /* and there it was prepared before */
	"0A000", /* what was prepared has another shape: a migration ran meanwhile */
	"25006", /* read-only: the server has become a standby, or was told so; it may be another when we come again */
};

static bool listed(const char *sqlstate, const char *const *prefixes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strncmp(sqlstate, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

bool sqlstate_spoils_connection(const char *sqlstate)
{
	return sqlstate && listed(sqlstate, spoils, ARRAY_LEN(spoils));
}

bool sqlstate_leaves_server(const char *sqlstate)
{
	return sqlstate && strcmp(sqlstate, "25006") == 0;
}

bool sqlstate_is_missing(const PGconn *connection, const PGresult *result)
{
	return PQresultStatus(result) == PGRES_FATAL_ERROR && !PQresultErrorField(result, PG_DIAG_SQLSTATE) &&
	       PQstatus(connection) == CONNECTION_OK;
}

bool sqlstate_hides_outcome(const char *sqlstate)
{
	return !sqlstate || sqlstate[0] == '\0' || strncmp(sqlstate, "08", 2) == 0;
}

enum err sqlstate_err(const char *sqlstate)
{
	if (!sqlstate || sqlstate[0] == '\0')
		return ERR_AWAY;
	if (listed(sqlstate, away, ARRAY_LEN(away)) || sqlstate_spoils_connection(sqlstate))
		return ERR_AWAY;
	if (listed(sqlstate, busy, ARRAY_LEN(busy)))
		return ERR_BUSY;
	return ERR_DATABASE;
}
