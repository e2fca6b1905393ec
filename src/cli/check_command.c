#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "store/admin/durability.h"
#include "store/admin/schema_files.h"
#include "store/admin/schema_state.h"

#define NOT_LOOKED_AT 3 /* exit status: nothing is wrong, but not everything could be looked at */

static const char usage[] =
	"usage: tidings check [--dir DIR]\n"
	"       tidings check --check-config\n"
	"\n"
	"  --dir DIR        where the SQL files of `tidings migrate` are (" TIDINGS_SQL_DIR ")\n"
	"  --check-config   print the configuration and exit\n"
	"\n"
	"Run it as the user of the programs. Exit status: 0 all is well, 1 something is wrong, 3 this user may not\n"
	"look at everything, and the rest is well.\n";

/* What the lines add up to. */
struct findings {
	bool wrong;
	bool hidden; /* something could not be looked at by this user */
};

/* A role, and who logs in as it where TIDINGS_DATABASE names no user. */
static const struct {
	const char *role;
	const char *programs;
} logins[] = {{"tidings_publisher", "broadcast.fcgi, live.fcgi"},
	      {"tidings_reader", "history.fcgi"},
	      {"tidings_status", "status.fcgi"},
	      {"tidings_sidecar", "tidings-ws"}};

enum { READER = 1, LOGINS = ARRAY_LEN(logins) };

static const char *user_name(void)
{
	const struct passwd *user = getpwuid(geteuid());

	return user ? user->pw_name : "this user";
}

/* A line for each thing. ERR_FORBIDDEN: it is not for this user to look at. */
static void say(const char *what, enum err e, const struct buf *problem, struct findings *f)
{
	const char *text = problem->len > 0 && buf_ok(problem) ? problem->bytes : err_text(e);

	if (e == ERR_FORBIDDEN)
		printf("%s: not looked at, %s may not: %s\n", what, user_name(), text);
	else
		printf("%s: %s\n", what, e == OK ? "ok" : text);
	f->hidden = f->hidden || e == ERR_FORBIDDEN;
	f->wrong = f->wrong || (e != OK && e != ERR_FORBIDDEN);
}

static void check_keys(const struct config *c, struct findings *f)
{
	struct token_rules rules = token_rules_of(c);
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;
	enum err e = OK;

	if (access(c->jwt_keys, R_OK | X_OK) != 0 && errno == EACCES) {
		buf_add_text(&problem, c->jwt_keys);
		e = ERR_FORBIDDEN;
	} else if (c->jwt_jwks && access(c->jwt_jwks, R_OK) != 0 && errno == EACCES) {
		buf_add_text(&problem, c->jwt_jwks);
		e = ERR_FORBIDDEN;
	} else {
		e = token_keys_load(&keys, c->jwt_keys, &rules, &problem);
	}
	say("keys", e, &problem, f);
	token_keys_free(&keys);
	buf_free(&problem);
}

static enum err compare(const struct schema_files *files, struct db *db, struct buf *problem)
{
	struct buf pending = BUF_EMPTY;
	enum err e = schema_state_compare(files, db, &pending, problem);

	if (e == OK && pending.len > 0) {
		buf_add_text(problem, "the schema is not up to date: run tidings migrate");
		e = ERR_CONFIG;
	}
	buf_free(&pending);
	return e;
}

/*	db	NULL: no login that may look */
static void check_migrations(struct db *db, const char *directory, struct findings *f)
{
	struct schema_files *files = NULL;
	struct buf problem = BUF_EMPTY;
	enum err e = schema_files_load(&files, directory, &problem);

	if (e == OK && db) {
		e = compare(files, db, &problem);
	} else if (e == OK) {
		buf_add_text(&problem, "it takes tidings_reader, or the login of tidings migrate");
		e = ERR_FORBIDDEN;
	}
	say("migrations", e, &problem, f);
	schema_files_free(&files);
	buf_free(&problem);
}

static void check_durability(struct db *db, struct findings *f)
{
	struct buf problem = BUF_EMPTY;
	enum err e = durability_check(db, &problem);

	say("durability", e, &problem, f);
	buf_free(&problem);
}

/*
 * Each login as the programs make it, and one as migrate makes it. Where one of them gets in, the database is there, and it is
 * this user whom the others do not let in.
 */
static void check_database(const struct config *c, const char *directory, struct findings *f)
{
	struct db *own = NULL;
	struct db *db[LOGINS] = {NULL};
	enum err own_in = db_open(&own, c->database, NULL, "tidings check", c->database_timeout_ms);
	enum err in[LOGINS];
	bool there = own_in == OK;

	for (size_t i = 0; i < LOGINS; i++) {
		in[i] = db_open(&db[i], c->database, logins[i].role, "tidings check", c->database_timeout_ms);
		there = there || in[i] == OK;
	}
	for (size_t i = 0; i < LOGINS; i++) {
		struct buf what = BUF_EMPTY;
		struct buf problem = BUF_EMPTY;

		buf_printf(&what, "login of %s", logins[i].programs);
		if (in[i] == OK && strcmp(db_user(db[i]), logins[i].role) != 0)
			buf_printf(&what, " (as %s)", db_user(db[i]));
		if (in[i] != OK)
			buf_add_text(&problem, db[i] ? db_problem(db[i]) : "TIDINGS_DATABASE is no connection string");
		say(buf_ok(&what) ? what.bytes : "login", in[i] == ERR_AWAY && there ? ERR_FORBIDDEN : in[i], &problem,
		    f);
		buf_free(&what);
		buf_free(&problem);
	}
	for (size_t i = 0; i <= LOGINS; i++) {
		struct db *some = i < LOGINS ? db[i] : own;

		if ((i < LOGINS ? in[i] : own_in) == OK) {
			check_durability(some, f);
			break;
		}
	}
	if (there)
		check_migrations(in[READER] == OK ? db[READER] : own_in == OK ? own : NULL, directory, f);
	db_close(&own);
	for (size_t i = 0; i < LOGINS; i++)
		db_close(&db[i]);
}

static void check_all(const char *directory, struct findings *f)
{
	struct buf problems = BUF_EMPTY;
	struct config config;
	enum err e = config_read(&config, environ, &problems);

	if (problems.len > 0 && problems.bytes[problems.len - 1] == '\n')
		problems.bytes[--problems.len] = '\0';
	say("configuration", e, &problems, f);
	buf_free(&problems);
	if (e != OK)
		return;
	check_keys(&config, f);
	check_database(&config, directory, f);
}

int check_command(int argc, char **argv)
{
	static const struct option options[] = {
		{"dir", required_argument, NULL, 'd'},
		{"check-config", no_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	char *only_config[] = {argv[0], (char[]){"--check-config"}, NULL};
	const char *directory = TIDINGS_SQL_DIR;
	struct config config;
	struct findings findings = {false, false};
	int option = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'd') {
			directory = optarg;
		} else if (option == 'c') {
			config_start(&config, "tidings", usage, 2, only_config);
		} else if (option == 'h') {
			fputs(usage, stdout);
			return 0;
		} else {
			return 2;
		}
	}
	if (optind < argc) {
		fputs(usage, stderr);
		return 2;
	}
	check_all(directory, &findings);
	if (findings.wrong)
		return 1;
	return findings.hidden ? NOT_LOOKED_AT : 0;
}
