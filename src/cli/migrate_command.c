#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/command.h"
#include "store/admin/migration.h"
#include "store/admin/schema_files.h"
#include "store/admin/schema_state.h"

static const char usage[] = "usage: tidings migrate [--status] [--dir DIR]\n"
			    "\n"
			    "  --status    say what is missing, and change nothing\n"
			    "  --dir DIR   where the SQL files are (" TIDINGS_SQL_DIR ")\n"
			    "\n"
			    "TIDINGS_DATABASE must name a superuser, or a role that may create roles and a schema.\n";

static const char *take_directory(int argc, char **argv, bool *status)
{
	static const struct option options[] = {
		{"status", no_argument, NULL, 's'},
		{"dir", required_argument, NULL, 'd'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *directory = TIDINGS_SQL_DIR;
	int option = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(usage, stdout);
			exit(0);
		}
		if (option == 's')
			*status = true;
		else if (option == 'd')
			directory = optarg;
		else
			return NULL;
	}
	if (optind == argc)
		return directory;
	fputs(usage, stderr);
	return NULL;
}

int migrate_command(int argc, char **argv)
{
	bool status = false;
	const char *directory = take_directory(argc, argv, &status);
	struct schema_files *files = NULL;
	struct buf problem = BUF_EMPTY;
	struct buf report = BUF_EMPTY;
	struct config config;
	struct db *db = NULL;
	enum err e = OK;

	if (!directory)
		return 2;
	read_config(&config);
	e = schema_files_load(&files, directory, &problem);
	if (e == OK) {
		/* No timeout: a migration of a large table takes its time, and so does another that runs now. */
		e = db_open(&db, config.database, NULL, "tidings migrate", 0);
		if (e != OK)
			buf_printf(&problem, "the database cannot be reached: %s", db ? db_problem(db) : err_text(e));
	}
	if (e == OK && status)
		e = schema_state_compare(files, db, &report, &problem);
	else if (e == OK)
		e = migration_apply(files, db, &report, &problem);
	if (status && report.len > 0)
		puts("missing:");
	if (report.len > 0)
		fputs(report.bytes, stdout);
	else if (e == OK)
		puts("up to date");
	fflush(stdout);
	if (e != OK)
		complain("%s", problem.len > 0 ? problem.bytes : err_text(e));
	db_close(&db);
	schema_files_free(&files);
	buf_free(&problem);
	buf_free(&report);
	return e == OK ? 0 : 1;
}
