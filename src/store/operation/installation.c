#include "store/operation/installation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "store/admin/schema.h"
#include "store/blocking/db_internal.h"

/* A row for each thing that is wrong: its place in `sentences`, and what fills {1} and {2} there. */
static const struct statement examine_statement = {
	"examine",
	"WITH setting AS (SELECT name, setting AS value, reset_val FROM pg_settings), "
	"login AS (SELECT v.name, v.calls, r.oid, r.rolcanlogin, r.rolsuper, r.rolvaliduntil FROM (VALUES "
	"('tidings_publisher', 'publish_batch'), ('tidings_reader', 'history'), ('tidings_status', 'status'), "
	"('tidings_sidecar', 'listen')) AS v(name, calls) LEFT JOIN pg_roles r ON r.rolname = v.name), "
	"owner AS (SELECT oid, rolcanlogin FROM pg_roles WHERE rolname = 'tidings_owner') "

	"SELECT 0, NULL, NULL FROM setting WHERE name = 'fsync' AND value <> 'on' "
	"UNION ALL SELECT 1, NULL, NULL FROM setting WHERE name = 'full_page_writes' AND value <> 'on' "
	"UNION ALL SELECT 2, value, NULL FROM setting WHERE name = 'server_encoding' AND value <> 'UTF8' "
	"UNION ALL SELECT 3, reset_val, NULL FROM setting WHERE name = 'synchronous_commit' "
	"AND reset_val IN ('off', 'local') "
	"UNION ALL SELECT 4, free::text, $1 FROM (SELECT current_setting('max_connections')::int "
	"- current_setting('superuser_reserved_connections')::int AS free) c WHERE free < $1::text::int "
	"UNION ALL SELECT 7, current_setting('server_version'), NULL "
	"WHERE current_setting('server_version_num')::int < 140000 "
	"UNION ALL SELECT 8, name, NULL FROM login WHERE oid IS NULL "
	"UNION ALL SELECT 9, name, NULL FROM login WHERE NOT rolcanlogin "
	"UNION ALL SELECT 10, name, NULL FROM login WHERE rolsuper "
	"UNION ALL SELECT 11, l.name, NULL FROM login l, owner o WHERE NOT l.rolsuper "
	"AND pg_has_role(l.oid, o.oid, 'MEMBER') "
	"UNION ALL SELECT 12, name, rolvaliduntil::text FROM login WHERE rolvaliduntil < clock_timestamp() "
	"UNION ALL SELECT 13, NULL, NULL FROM owner WHERE rolcanlogin "
	"UNION ALL SELECT 14, l.name, l.calls FROM login l JOIN pg_proc p ON p.proname = l.calls "
	"AND p.pronamespace = to_regnamespace('tidings') WHERE l.oid IS NOT NULL "
	"AND NOT (has_schema_privilege(l.oid, p.pronamespace, 'USAGE') AND has_function_privilege(l.oid, p.oid, "
	"'EXECUTE')) "
	"UNION ALL SELECT 15, b.datname, NULL FROM owner o JOIN pg_shdepend d ON d.refobjid = o.oid "
	"AND d.refclassid = 'pg_authid'::regclass JOIN pg_database b ON b.oid = d.dbid "
	"WHERE b.datname <> current_database() GROUP BY b.datname "
	"UNION ALL SELECT 16, string_agg(DISTINCT pg_get_userbyid(p.proowner)::text, ', '), NULL FROM owner o "
	"JOIN pg_proc p ON p.proowner <> o.oid AND p.pronamespace = to_regnamespace('tidings') "
	"JOIN login l ON l.calls = p.proname HAVING count(*) > 0 ORDER BY 1, 2",
};

/* All names at once, in pg_timezone_names, are more than a thousand files: each of these is one. */
static const struct {
	struct statement statement;
	size_t sentence; /* when the server does not know it */
} zones[] = {
	{{"zone", "SELECT now() AT TIME ZONE 'Europe/Berlin'"}, 5},
	{{"old_zone", "SELECT now() AT TIME ZONE 'Asia/Calcutta'"}, 6},
};
static const char unknown_zone[] = "22023"; /* invalid_parameter_value */

static const struct {
	const char *about;
	bool note;
	const char *sentence;
} sentences[] = {
	[0] = {"server", false,
	       "fsync is off: after a power cut what was acknowledged may be gone. ALTER SYSTEM SET fsync = on, and "
	       "reload"},
	[1] = {"server", false,
	       "full_page_writes is off: after a power cut half a page may be on the disk. ALTER SYSTEM SET "
	       "full_page_writes = on, and reload"},
	[2] = {"server", false,
	       "the database's encoding is {1}, and messages are UTF-8: createdb -E UTF8 -T template0 NAME, and "
	       "migrate there"},
	[3] = {"server", false,
	       "synchronous_commit is {1}: the programs commit with on all the same, but your own transactions that "
	       "call tidings.publish() do not. ALTER SYSTEM SET synchronous_commit = on, and reload"},
	[4] = {"server", false,
	       "max_connections leaves {1} connections, and a machine's web server and sidecar may need {2}: ALTER "
	       "SYSTEM SET max_connections = 100, and restart"},
	[5] = {"server", false,
	       "the server has no time zone data, and quiet hours cannot be kept: apt-get install --reinstall tzdata "
	       "on its machine"},
	[6] = {"server", false,
	       "the server does not know the time zones that browsers name, such as Asia/Calcutta: apt-get install "
	       "tzdata-legacy on its machine"},
	[7] = {"server", false, "PostgreSQL {1} is older than 14: upgrade it"},
	[8] = {"roles", false, "there is no role {1}: run tidings migrate"},
	[9] = {"roles", false, "{1} may not log in: ALTER ROLE {1} LOGIN"},
	[10] = {"roles", false, "{1} is a superuser, and has to call functions only: ALTER ROLE {1} NOSUPERUSER"},
	[11] = {"roles", false,
		"{1} is a member of tidings_owner, and so may read and write every table: REVOKE tidings_owner FROM "
		"{1}"},
	[12] = {"roles", false,
		"the password of {1} is no longer valid since {2}: ALTER ROLE {1} VALID UNTIL 'infinity'"},
	[13] = {"roles", false, "tidings_owner may log in, and must not: ALTER ROLE tidings_owner NOLOGIN"},
	[14] = {"roles", false,
		"{1} may not call tidings.{2}(): rights were lost, as in a restore without them. DELETE FROM "
		"tidings.code, and run tidings migrate"},
	[15] = {"cluster", true,
		"the database {1} of this cluster has an installation too, and roles are the whole cluster's: whoever "
		"logs in as one of them may do so in both. Have pg_hba.conf let each system's user into its own "
		"database alone, or give it a cluster of its own"},
	[16] = {"roles", false,
		"the functions of tidings belong to {1}, and do what they do with its rights, as after pg_restore "
		"--no-owner: "
		"restore without that"},
};

static const struct statement exists_statement = {"schema_exists", "SELECT to_regproc('tidings.applied') IS NOT NULL"};
static const struct statement fits_statement = {"schema_fits", "SELECT coalesce(" SCHEMA_APPLIED " = $1::text, false)"};
static const struct statement clock_statement = {"clock",
						 "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8"};
static const struct statement work_statement = {
	"work", "SELECT tidings.live_nodes(), o.messages, round(o.oldest_s)::int8, o.failed, o.stuck FROM "
		"tidings.outbox_state() AS o"};
static const struct statement commit_statement = {"commit", "SELECT tidings.commit_works()"};
static const struct statement listen_statement = {"listen", "SELECT tidings.listen()"};
/* Of a connection that is nobody's: whatever node hears it has nothing to report. */
#define NOBODY "00000000-0000-0000-0000-000000000000"
static const struct statement notify_statement = {"notify", "SELECT tidings.ask_reports('{" NOBODY "}')"};

/* A sentence with {1} and {2} filled in. */
static void fill_in(struct buf *out, const char *sentence, const char *first, const char *second)
{
	while (*sentence) {
		size_t len = strcspn(sentence, "{");

		buf_add(out, sentence, len);
		sentence += len;
		if (*sentence == '\0')
			return;
		buf_add_text(out, sentence[1] == '1' ? first : second);
		sentence += strlen("{1}");
	}
}

static enum err examine_zones(struct db *db, installation_problem *found, void *context)
{
	for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
		PGresult *result = NULL;
		enum err e = db_query(db, &zones[i].statement, 0, NULL, NULL, NULL, &result);

		PQclear(result);
		if (e != OK && strncmp(db_problem(db), unknown_zone, strlen(unknown_zone)) != 0)
			return e;
		if (e != OK) {
			size_t place = zones[i].sentence;

			found(context, sentences[place].about, sentences[place].sentence, sentences[place].note);
			break;
		}
	}
	return OK;
}

enum err installation_examine(struct db *db, installation_problem *found, void *context)
{
	char connections[24];
	const char *const values[] = {connections};
	struct buf sentence = BUF_EMPTY;
	PGresult *result = NULL;
	enum err e = OK;

	snprintf(connections, sizeof(connections), "%d", INSTALLATION_CONNECTIONS);
	e = examine_zones(db, found, context);
	if (e == OK)
		e = db_query(db, &examine_statement, ARRAY_LEN(values), values, NULL, NULL, &result);
	for (int i = 0; e == OK && i < PQntuples(result); i++) {
		unsigned long place = strtoul(PQgetvalue(result, i, 0), NULL, 10);

		if (place >= ARRAY_LEN(sentences)) {
			e = ERR_DATABASE;
			break;
		}
		buf_clear(&sentence);
		fill_in(&sentence, sentences[place].sentence, PQgetvalue(result, i, 1), PQgetvalue(result, i, 2));
		if (buf_ok(&sentence))
			found(context, sentences[place].about, sentence.bytes, sentences[place].note);
		else
			e = ERR_MEMORY;
	}
	PQclear(result);
	buf_free(&sentence);
	return e;
}

/* Of a statement that answers with one row. */
static enum err ask_row(struct db *db, const struct statement *s, int count, const char *const *values,
			PGresult **result)
{
	enum err e = db_query(db, s, count, values, NULL, NULL, result);

	return e == OK && PQntuples(*result) < 1 ? ERR_DATABASE : e;
}

enum err installation_schema_fits(struct db *db, bool *fits)
{
	const char *const values[] = {schema_files};
	PGresult *result = NULL;
	enum err e = ask_row(db, &exists_statement, 0, NULL, &result);
	bool there = e == OK && PQgetvalue(result, 0, 0)[0] == 't';

	PQclear(result);
	*fits = false;
	if (e != OK || !there)
		return e;
	e = ask_row(db, &fits_statement, 1, values, &result);
	if (e == OK)
		*fits = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return e;
}

enum err installation_clock(struct db *db, int64_t *now_ms)
{
	PGresult *result = NULL;
	enum err e = ask_row(db, &clock_statement, 0, NULL, &result);

	if (e == OK)
		*now_ms = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	return e;
}

enum err installation_work(struct db *db, struct installation_work *work)
{
	PGresult *result = NULL;
	enum err e = ask_row(db, &work_statement, 0, NULL, &result);

	if (e == OK)
		*work = (struct installation_work){
			.nodes = strtoll(PQgetvalue(result, 0, 0), NULL, 10),
			.due = strtoll(PQgetvalue(result, 0, 1), NULL, 10),
			.oldest_s = strtoll(PQgetvalue(result, 0, 2), NULL, 10),
			.failed = strtoll(PQgetvalue(result, 0, 3), NULL, 10),
			.stuck = PQgetvalue(result, 0, 4)[0] == 't',
		};
	PQclear(result);
	return e;
}

enum err installation_commits(struct db *db)
{
	PGresult *result = NULL;
	enum err e = db_change(db, &commit_statement, 0, NULL, NULL, NULL, &result);

	if (e == OK && (PQntuples(result) != 1 || PQgetvalue(result, 0, 0)[0] != 't'))
		e = ERR_DATABASE;
	PQclear(result);
	return e;
}

enum err installation_hears(struct db *listener, struct db *publisher, int64_t wait_ms)
{
	PGresult *result = NULL;
	enum err e = db_query(listener, &listen_statement, 0, NULL, NULL, NULL, &result);

	PQclear(result);
	if (e != OK)
		return e;
	e = db_query(publisher, &notify_statement, 0, NULL, NULL, NULL, &result);
	PQclear(result);
	return e == OK ? db_wait_notification(listener, "report " NOBODY, wait_ms) : e;
}
