#include "store/operation/installation.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/admin/schema.h"
#include "store/blocking/db_internal.h"

/* about, problem, note: a row for each thing that is wrong. */
static const struct statement examine_statement = {
	"examine",
	"WITH zones AS MATERIALIZED (SELECT name FROM pg_timezone_names), fit(name, value, consequence) AS (VALUES "
	"('fsync', 'on', 'after a power cut what was acknowledged may be gone'), "
	"('full_page_writes', 'on', 'after a power cut half a page may be on the disk')), "
	"roles AS (SELECT v.name, v.calls, r.oid, r.rolcanlogin, r.rolsuper, r.rolvaliduntil FROM (VALUES "
	"('tidings_publisher', 'publish_batch'), ('tidings_reader', 'history'), "
	"('tidings_status', 'status'), ('tidings_sidecar', 'listen')) AS v(name, calls) "
	"LEFT JOIN pg_roles r ON r.rolname = v.name) "

	"SELECT 'server', format('%1$s is off: %2$s. ALTER SYSTEM SET %1$s = on, and reload', s.name, f.consequence), "
	"false "
	"FROM pg_settings s JOIN fit f ON f.name = s.name WHERE s.setting <> f.value "

	"UNION ALL SELECT 'server', format('the database''s encoding is %s, and messages are UTF-8: createdb -E UTF8 "
	"-T template0 NAME, and migrate there', setting), false FROM pg_settings WHERE name = 'server_encoding' AND "
	"setting <> 'UTF8' "

	"UNION ALL SELECT 'server', format('synchronous_commit is %s: the programs commit with on all the same, but "
	"your "
	"own transactions that call tidings.publish() do not. ALTER SYSTEM SET synchronous_commit = on, and reload', "
	"reset_val), "
	"false FROM pg_settings WHERE name = 'synchronous_commit' AND reset_val IN ('off', 'local') "

	"UNION ALL SELECT 'server', format('max_connections leaves %s connections, and a machine''s web server and "
	"sidecar may need "
	"%s: ALTER SYSTEM SET max_connections = 100, and restart', left_over, $1::int), false FROM (SELECT "
	"current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS "
	"left_over) m "
	"WHERE left_over < $1::int "

	"UNION ALL SELECT 'server', CASE WHEN NOT EXISTS (SELECT FROM zones WHERE name = 'Europe/Berlin') "
	"THEN 'the server has no time zone data, and quiet hours cannot be kept: apt-get install --reinstall tzdata on "
	"its machine' "
	"ELSE 'the server does not know the time zones that browsers name, such as Asia/Calcutta: apt-get install "
	"tzdata-legacy on its "
	"machine' END, false FROM (SELECT count(*) AS known FROM zones WHERE name IN ('Europe/Berlin', "
	"'Asia/Calcutta')) z WHERE known < 2 "

	"UNION ALL SELECT 'server', format('PostgreSQL %s is older than 14: upgrade it', "
	"current_setting('server_version')), false "
	"WHERE current_setting('server_version_num')::int < 140000 "

	"UNION ALL SELECT 'roles', format('there is no role %s: run tidings migrate', name), false FROM roles WHERE "
	"oid IS NULL "

	"UNION ALL SELECT 'roles', format('%1$s may not log in: ALTER ROLE %1$s LOGIN', name), false FROM roles WHERE "
	"NOT rolcanlogin "

	"UNION ALL SELECT 'roles', format('%1$s is a superuser, and has to call functions only: ALTER ROLE %1$s "
	"NOSUPERUSER', name), "
	"false FROM roles WHERE rolsuper "

	"UNION ALL SELECT 'roles', format('%1$s is a member of tidings_owner, and so may read and write every table: "
	"REVOKE "
	"tidings_owner FROM %1$s', name), false FROM roles WHERE NOT rolsuper AND pg_has_role(oid, (SELECT o.oid FROM "
	"pg_roles o WHERE "
	"o.rolname = 'tidings_owner'), 'MEMBER') "

	"UNION ALL SELECT 'roles', format('the password of %1$s is no longer valid since %2$s: ALTER ROLE %1$s VALID "
	"UNTIL ''infinity''', "
	"name, rolvaliduntil), false FROM roles WHERE rolvaliduntil < clock_timestamp() "

	"UNION ALL SELECT 'roles', 'tidings_owner may log in, and must not: ALTER ROLE tidings_owner NOLOGIN', false "
	"FROM pg_roles "
	"WHERE rolname = 'tidings_owner' AND rolcanlogin "

	"UNION ALL SELECT 'roles', format('%s may not call tidings.%s(): rights were lost, as in a restore without "
	"them. DELETE FROM "
	"tidings.code, and run tidings migrate', r.name, p.proname), false FROM roles r JOIN pg_proc p ON p.proname = "
	"r.calls AND "
	"p.pronamespace = to_regnamespace('tidings') WHERE r.oid IS NOT NULL AND NOT (has_schema_privilege(r.oid, "
	"p.pronamespace, "
	"'USAGE') AND has_function_privilege(r.oid, p.oid, 'EXECUTE')) "

	"UNION ALL SELECT 'cluster', format('the database %s of this cluster has an installation too, and roles are "
	"the whole "
	"cluster''s: whoever logs in as one of them may do so in both. Have pg_hba.conf let each system''s user into "
	"its own database "
	"alone, or give it a cluster of its own', b.datname), true FROM pg_shdepend d JOIN pg_database b ON b.oid = "
	"d.dbid WHERE "
	"d.refclassid = 'pg_authid'::regclass AND d.refobjid = (SELECT o.oid FROM pg_roles o WHERE o.rolname = "
	"'tidings_owner') AND "
	"b.datname <> current_database() GROUP BY b.datname",
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
static const struct statement notify_statement = {"notify",
						  "SELECT tidings.ask_report('00000000-0000-0000-0000-000000000000')"};

enum err installation_examine(struct db *db, installation_problem *found, void *context)
{
	char connections[24];
	const char *const values[] = {connections};
	PGresult *result = NULL;
	enum err e = OK;

	snprintf(connections, sizeof(connections), "%d", INSTALLATION_CONNECTIONS);
	e = db_query(db, &examine_statement, ARRAY_LEN(values), values, NULL, NULL, &result);
	for (int i = 0; e == OK && i < PQntuples(result); i++)
		found(context, PQgetvalue(result, i, 0), PQgetvalue(result, i, 1), PQgetvalue(result, i, 2)[0] == 't');
	PQclear(result);
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
	return e == OK ? db_wait_notification(listener, wait_ms) : e;
}
