#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/report.h"
#include "domain/text/json.h"
#include "store/admin/migration.h"
#include "store/admin/schema_files.h"
#include "store/admin/schema_state.h"

enum order { APPLY, TRY, COMPARE };

/* {"missing":["tables/001_first.sql"]}; what was done, or would be, likewise. */
static int tell_json(enum order order, const struct buf *lines)
{
	static const char *const members[] = {[APPLY] = "done", [TRY] = "would_be_done", [COMPARE] = "missing"};
	const char *line = lines->bytes;
	struct buf json = BUF_EMPTY;
	int status = EXIT_DONE;

	buf_printf(&json, "{\"%s\":[", members[order]);
	for (const char *before = ""; line && *line; before = ",") {
		size_t len = strcspn(line, "\n");

		buf_add_text(&json, before);
		json_add_string(&json, line, len);
		line += len + (line[len] == '\n');
	}
	buf_add_text(&json, "]}");
	status = report_json(&json);
	buf_free(&json);
	return status;
}

/*	done	without an error */
static void tell(enum order order, const struct buf *lines, bool done)
{
	static const char *const titles[] = {[APPLY] = "", [TRY] = "done, and taken back:\n", [COMPARE] = "missing:\n"};

	if (lines->len > 0)
		printf("%s%s", titles[order], lines->bytes);
	else if (done)
		puts("up to date");
}

static enum err run(enum order order, const struct schema_files *files, struct db *db, struct buf *report,
		    struct buf *problem)
{
	if (order == COMPARE)
		return schema_state_compare(files, db, report, problem);
	return migration_apply(files, db, order == TRY, report, problem);
}

int migrate_command(const struct arguments *a)
{
	const char *directory = arguments_value(a, "dir");
	enum order order = arguments_value(a, "status") ? COMPARE : arguments_value(a, "dry-run") ? TRY : APPLY;
	struct schema_files *files = NULL;
	struct buf problem = BUF_EMPTY;
	struct buf report = BUF_EMPTY;
	struct config config;
	struct db *db = NULL;
	int status = EXIT_DONE;
	enum err e = OK;

	read_config(&config);
	e = schema_files_load(&files, directory ? directory : TIDINGS_SQL_DIR, &problem);
	if (e == OK) {
		/* No timeout: a migration of a large table takes its time, and so does another that runs now. */
		e = db_open(&db, config.database, NULL, "tidings migrate", 0);
		if (e != OK)
			buf_printf(&problem, "the database cannot be reached: %s", db ? db_problem(db) : err_text(e));
	}
	if (e == OK)
		e = run(order, files, db, &report, &problem);
	if (a->json && e == OK)
		status = tell_json(order, &report);
	else if (!a->json)
		tell(order, &report, e == OK);
	fflush(stdout);
	if (e != OK) {
		complain("%s", problem.len > 0 ? problem.bytes : err_text(e));
		status = e == ERR_AWAY ? EXIT_AWAY : EXIT_FAILED;
	}
	db_close(&db);
	schema_files_free(&files);
	buf_free(&problem);
	buf_free(&report);
	return status;
}
