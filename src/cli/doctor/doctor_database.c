#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/doctor/doctor.h"
#include "store/admin/schema_files.h"
#include "store/admin/schema_state.h"
#include "store/operation/installation.h"

#define CLOCKS_APART_MAX_MS 2000
#define NOTIFICATION_WAIT_MS 5000

enum login { PUBLISHER, READER, STATUS, SIDECAR, LISTENER, OWN, LOGINS };

/* A role, and who logs in as it where TIDINGS_DATABASE names no user. */
static const struct {
	const char *role; /* NULL: who migrates */
	const char *programs;
} logins[LOGINS] = {
	[PUBLISHER] = {"tidings_publisher", "api.fcgi, broadcast.fcgi, live.fcgi"},
	[READER] = {"tidings_reader", "history.fcgi"},
	[STATUS] = {"tidings_status", "status.fcgi"},
	[SIDECAR] = {"tidings_sidecar", "tidings-ws"},
	[LISTENER] = {"tidings_sidecar", "tidings-ws (TIDINGS_LISTEN_DATABASE)"},
	[OWN] = {NULL, "tidings migrate"},
};

struct examined {
	struct findings *findings;
	struct db *db[LOGINS]; /* owned */
	enum err in[LOGINS];
	bool server_wrong, roles_wrong;
};

/* Of those that got in: the first of these. NULL: none did. */
static struct db *first_of(const struct examined *x, enum login a, enum login b)
{
	return x->in[a] == OK ? x->db[a] : x->in[b] == OK ? x->db[b] : NULL;
}

static struct db *any_of(const struct examined *x)
{
	for (int i = 0; i < LOGINS; i++)
		if (i != LISTENER && x->in[i] == OK)
			return x->db[i];
	return NULL;
}

/* What libpq says in English tells what to do; of another language the server's log has to tell. */
static const char *advice(const char *problem)
{
	static const struct {
		const char *part, *another; /* both are in it */
		const char *advice;
	} known[] = {
		{"authentication failed", "", "who may log in as whom say pg_hba.conf and pg_ident.conf"},
		{"no pg_hba.conf entry", "", "it has to have a line for this user, database and role"},
		{"No such file", "", "is PostgreSQL started, and where TIDINGS_DATABASE says"},
		{"refused", "", "is PostgreSQL started, and where TIDINGS_DATABASE says"},
		{"could not translate", "", "TIDINGS_DATABASE names a host that is not known"},
		{"timeout expired", "", "the server does not answer: is it overloaded, or does it stand still"},
		{"too many", "", "raise max_connections, or see who has them in pg_stat_activity"},
		{"connection slots", "", "raise max_connections, or see who has them in pg_stat_activity"},
		{"No space left", "", "free some, or enlarge that disk: all goes on by itself then"},
		{"read-only", "",
		 "TIDINGS_DATABASE must lead to the primary, and default_transaction_read_only be off"},
		{"not permitted to log in", "", "ALTER ROLE ... LOGIN"},
		{"role", "does not exist",
		 "tidings migrate makes the roles; one of your own is named in TIDINGS_DATABASE"},
		{"database", "does not exist",
		 "createdb -E UTF8 -T template0, then tidings migrate; TIDINGS_DATABASE names it"},
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strstr(problem, known[i].part) && strstr(problem, known[i].another))
			return known[i].advice;
	return "see the server's log";
}

static void log_in(struct examined *x, const struct config *c)
{
	for (int i = 0; i < LOGINS; i++) {
		const char *to = i == LISTENER && c->listen_database ? c->listen_database : c->database;

		x->in[i] = db_open(&x->db[i], to, logins[i].role, "tidings doctor", c->database_timeout_ms);
	}
}

/*
 * Where one of them gets in, the database is there, and it may be this user alone whom the others do not let in: of a role
 * that lets nobody in look_at_server() tells.
 */
static void tell_logins(const struct examined *x, const struct config *c)
{
	bool there = any_of(x) != NULL;

	for (int i = 0; i < OWN; i++) {
		char about[96];
		const char *problem = x->db[i] ? db_problem(x->db[i]) : "it is no connection string";

		if (i == LISTENER && !c->listen_database)
			continue;
		snprintf(about, sizeof(about), "login of %s", logins[i].programs);
		if (x->in[i] == OK && strcmp(db_user(x->db[i]), logins[i].role) != 0)
			findings_add(x->findings, about, FINDING_NOTE,
				     "as %s, whom TIDINGS_DATABASE names; else it would be %s", db_user(x->db[i]),
				     logins[i].role);
		else if (x->in[i] == OK)
			findings_add(x->findings, about, FINDING_OK, "ok");
		else
			findings_add(x->findings, about, x->in[i] == ERR_AWAY && there ? FINDING_HIDDEN : FINDING_WRONG,
				     "%s; %s", problem, advice(problem));
	}
}

static void take_problem(void *context, const char *about, const char *problem, bool note)
{
	struct examined *x = context;

	x->server_wrong = x->server_wrong || strcmp(about, "server") == 0;
	x->roles_wrong = x->roles_wrong || strcmp(about, "roles") == 0;
	findings_add(x->findings, about, note ? FINDING_NOTE : FINDING_WRONG, "%s", problem);
}

static void look_at_server(struct examined *x, struct db *db)
{
	if (installation_examine(db, take_problem, x) != OK) {
		findings_add(x->findings, "server", FINDING_WRONG, "%s; see the server's log", db_problem(db));
		return;
	}
	if (!x->server_wrong)
		findings_add(x->findings, "server", FINDING_OK, "ok");
	if (!x->roles_wrong)
		findings_add(x->findings, "roles", FINDING_OK, "ok");
}

static void look_at_clock(const struct examined *x, struct db *db)
{
	int64_t server_ms = 0, before_ms = clock_wall_us() / 1000;
	enum err e = installation_clock(db, &server_ms);
	int64_t apart_ms = server_ms - before_ms;

	/* The answer took its time: that is no fault of the clocks. */
	if (e == OK && apart_ms > 0)
		apart_ms = MAX(0, server_ms - clock_wall_us() / 1000);
	if (e != OK)
		findings_add(x->findings, "clock", FINDING_WRONG, "%s", db_problem(db));
	else if (llabs(apart_ms) > CLOCKS_APART_MAX_MS)
		findings_add(x->findings, "clock", FINDING_WRONG,
			     "the database's is %lld s %s this machine's, by which tokens expire: have both keep "
			     "time by NTP "
			     "(timedatectl set-ntp true)",
			     llabs(apart_ms) / 1000, apart_ms > 0 ? "ahead of" : "behind");
	else
		findings_add(x->findings, "clock", FINDING_OK, "ok");
}

/* Why it does not fit, as far as the files tell. */
static void tell_schema(const struct examined *x, struct db *db, const char *directory)
{
	struct schema_files *files = NULL;
	struct buf pending = BUF_EMPTY, problem = BUF_EMPTY;
	enum err e = schema_files_load(&files, directory, &problem);

	if (e == OK)
		e = schema_state_compare(files, db, &pending, &problem);
	if (e == ERR_CONFLICT)
		findings_add(x->findings, "schema", FINDING_WRONG,
			     "%s: it is not for these programs. Upgrade them, or restore what they are for",
			     problem.bytes);
	else if (e == OK && pending.len > 0 && strncmp(pending.bytes, "tables/001", strlen("tables/001")) == 0)
		findings_add(x->findings, "schema", FINDING_WRONG,
			     "there is none in this database: run tidings migrate");
	else if (e == OK && pending.len > 0)
		findings_add(x->findings, "schema", FINDING_WRONG,
			     "it is older than these programs: run tidings migrate");
	else if (e == OK)
		findings_add(x->findings, "schema", FINDING_WRONG,
			     "it is that of the files in %s, and these programs were made for others: upgrade them, or "
			     "give --dir",
			     directory);
	else
		findings_add(x->findings, "schema", FINDING_WRONG,
			     "it is not for these programs, and %s: run tidings migrate",
			     problem.len > 0 ? problem.bytes : err_text(e));
	schema_files_free(&files);
	buf_free(&pending);
	buf_free(&problem);
}

/* False: nothing of it can be called. */
static bool look_at_schema(const struct examined *x, const char *directory)
{
	struct db *db = first_of(x, READER, OWN);
	bool fits = false;
	enum err e = db ? installation_schema_fits(db, &fits) : ERR_FORBIDDEN;

	if (e == ERR_FORBIDDEN)
		findings_add(x->findings, "schema", FINDING_HIDDEN,
			     "it takes tidings_reader, or the login of tidings migrate");
	else if (e != OK)
		findings_add(x->findings, "schema", FINDING_WRONG, "%s", db_problem(db));
	else if (fits)
		findings_add(x->findings, "schema", FINDING_OK, "ok");
	else
		tell_schema(x, db, directory);
	return e == ERR_FORBIDDEN || fits;
}

static void look_at_notifications(const struct examined *x, const struct config *c)
{
	struct db *listener = x->db[LISTENER];
	enum err e = x->in[LISTENER] == OK && x->in[PUBLISHER] == OK ? OK : ERR_FORBIDDEN;

	/* A pooler that is named for it may keep sessions: whether it does is tried. */
	if (e == OK && db_is_pooled(listener) && !c->listen_database) {
		findings_add(x->findings, "notifications", FINDING_WRONG,
			     "they do not come through a pooler, and messages would be up to 5 s late: name PostgreSQL "
			     "itself in "
			     "TIDINGS_LISTEN_DATABASE");
		return;
	}
	if (e == OK)
		e = installation_hears(listener, x->db[PUBLISHER], NOTIFICATION_WAIT_MS);
	if (e == ERR_FORBIDDEN)
		findings_add(x->findings, "notifications", FINDING_HIDDEN,
			     "it takes tidings_sidecar and tidings_publisher");
	else if (e == ERR_NOT_FOUND && db_is_pooled(listener))
		findings_add(
			x->findings, "notifications", FINDING_WRONG,
			"none came within %d s: TIDINGS_LISTEN_DATABASE names a pooler that keeps no sessions, and "
			"messages would be up to 5 s late: it has to name PostgreSQL itself, or a pool per session "
			"(pool_mode = session)",
			NOTIFICATION_WAIT_MS / 1000);
	else if (e == ERR_NOT_FOUND)
		findings_add(x->findings, "notifications", FINDING_WRONG,
			     "none came within %d s: TIDINGS_LISTEN_DATABASE must lead to the same database as "
			     "TIDINGS_DATABASE, and no "
			     "transaction stay open that listens (pg_notification_queue_usage())",
			     NOTIFICATION_WAIT_MS / 1000);
	else if (e != OK)
		findings_add(x->findings, "notifications", FINDING_WRONG, "%s", db_problem(listener));
	else
		findings_add(x->findings, "notifications", FINDING_OK, "ok");
}

static void look_at_work(const struct examined *x)
{
	struct installation_work work = {0};
	struct findings *f = x->findings;
	struct db *db = x->db[STATUS];
	enum err e = x->in[STATUS] == OK ? installation_work(db, &work) : ERR_FORBIDDEN;

	if (e != OK) {
		findings_add(f, "work", e == ERR_FORBIDDEN ? FINDING_HIDDEN : FINDING_WRONG, "%s",
			     e == ERR_FORBIDDEN ? "it takes tidings_status" : db_problem(db));
		return;
	}
	if (work.nodes == 0)
		findings_add(f, "sidecars", FINDING_WRONG, "none lives on any machine: systemctl start tidings-ws");
	else
		findings_add(f, "sidecars", FINDING_OK, "ok");
	if (work.stuck)
		findings_add(f, "outbox", FINDING_WRONG,
			     "%lld messages wait to be relayed, the oldest for %lld s: a sidecar does that, and its "
			     "log says what is in "
			     "the way",
			     (long long)work.due, (long long)work.oldest_s);
	if (work.failed > 0)
		findings_add(f, "outbox", FINDING_WRONG,
			     "%lld messages were given up: tidings outbox list --failed says why, and tidings outbox "
			     "retry has them sent",
			     (long long)work.failed);
	if (!work.stuck && work.failed == 0)
		findings_add(f, "outbox", FINDING_OK, "ok");
	e = installation_commits(db);
	if (e == OK)
		findings_add(f, "publishing", FINDING_OK, "ok");
	else if (e == ERR_UNKNOWN)
		findings_add(f, "publishing", FINDING_WRONG,
			     "a commit is not confirmed in time: is a standby missing that synchronous_standby_names "
			     "waits for");
	else
		findings_add(f, "publishing", FINDING_WRONG, "a commit is refused: %s; %s", db_problem(db),
			     advice(db_problem(db)));
}

void doctor_database(const struct config *c, const char *directory, struct findings *f)
{
	struct examined x = {.findings = f};
	struct db *some = NULL;

	log_in(&x, c);
	tell_logins(&x, c);
	some = any_of(&x);
	if (some) {
		look_at_server(&x, some);
		look_at_clock(&x, some);
		if (look_at_schema(&x, directory)) {
			look_at_notifications(&x, c);
			look_at_work(&x);
		}
	}
	for (int i = 0; i < LOGINS; i++)
		db_close(&x.db[i]);
}
