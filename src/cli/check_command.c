#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "store/migration.h"

static const char usage[] =
	"usage: tidings check [--dir DIR]\n"
	"       tidings check --check-config\n"
	"\n"
	"  --dir DIR        where the SQL files of `tidings migrate` are (" TIDINGS_SQL_DIR ")\n"
	"  --check-config   print the configuration and exit\n";

/* A line for each thing; *all_ok stays as it is only when this one is. */
static void say(const char *what, enum err e, const struct buf *problem, bool *all_ok)
{
	const char *text = problem->len > 0 && buf_ok(problem) ? problem->bytes : err_text(e);

	printf("%s: %s\n", what, e == OK ? "ok" : text);
	*all_ok = *all_ok && e == OK;
}

static void check_keys(const struct config *c, bool *all_ok)
{
	struct token_rules rules = rules_of(c);
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;

	say("keys", token_keys_load(&keys, c->jwt_keys, &rules, &problem), &problem, all_ok);
	token_keys_free(&keys);
	buf_free(&problem);
}

static void check_migrations(struct db *db, const char *directory, bool *all_ok)
{
	struct migrations *migrations = NULL;
	struct buf problem = BUF_EMPTY;
	struct buf pending = BUF_EMPTY;
	enum err e = migrations_load(&migrations, directory, &problem);

	if (e == OK)
		e = migrations_compare(migrations, db, &pending, &problem);
	if (e == OK && pending.len > 0) {
		buf_add_text(&problem, "the schema is not up to date: run tidings migrate");
		e = ERR_CONFIG;
	}
	say("migrations", e, &problem, all_ok);
	migrations_free(&migrations);
	buf_free(&pending);
	buf_free(&problem);
}

static void check_database(const struct config *c, const char *directory, bool *all_ok)
{
	struct buf problem = BUF_EMPTY;
	struct db *db = NULL;
	enum err e = db_open(&db, c->database, NULL, "tidings check", c->database_timeout_ms);

	if (e != OK)
		buf_add_text(&problem, db ? db_problem(db) : "TIDINGS_DATABASE is no connection string");
	say("database", e, &problem, all_ok);
	if (e == OK)
		check_migrations(db, directory, all_ok);
	db_close(&db);
	buf_free(&problem);
}

static void check_all(const char *directory, bool *all_ok)
{
	struct buf problems = BUF_EMPTY;
	struct config config;
	enum err e = config_read(&config, environ, &problems);

	if (problems.len > 0 && problems.bytes[problems.len - 1] == '\n')
		problems.bytes[--problems.len] = '\0';
	say("configuration", e, &problems, all_ok);
	buf_free(&problems);
	if (e != OK)
		return;
	check_keys(&config, all_ok);
	check_database(&config, directory, all_ok);
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
	bool all_ok = true;
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
	check_all(directory, &all_ok);
	return all_ok ? 0 : 1;
}
