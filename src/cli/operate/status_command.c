#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/report.h"
#include "domain/text/json.h"
#include "store/operation/overview.h"

#define WATCH_S 2

static void add_value(struct buf *out, json_object *object, const char *name)
{
	report_add_cell(out, report_member(object, name));
}

/* "websocket 9, sse 1": the members of an object that are not 0. */
static void add_counts(struct buf *out, json_object *counts)
{
	const char *before = "";

	json_object_object_foreach(counts, name, value)
	{
		if (json_object_get_int64(value) == 0)
			continue;
		buf_printf(out, "%s%s ", before, name);
		report_add_cell(out, value);
		before = ", ";
	}
	if (*before == '\0')
		buf_add_text(out, "none");
}

static void add_nodes(struct buf *out, json_object *nodes)
{
	if (json_object_array_length(nodes) == 0)
		buf_add_text(out, "nodes          none: no sidecar runs\n");
	for (size_t i = 0; i < json_object_array_length(nodes); i++) {
		json_object *node = json_object_array_get_idx(nodes, i);

		buf_add_text(out, i == 0 ? "nodes          " : "               ");
		add_value(out, node, "id");
		buf_add_text(out, "  since ");
		add_value(out, node, "started_at");
		buf_add_text(out, "  connections ");
		add_value(out, node, "connections");
		if (json_object_get_boolean(report_member(node, "draining")))
			buf_add_text(out, "  draining");
		buf_add_text(out, "\n");
	}
}

static void add_for_people(struct buf *out, json_object *status)
{
	json_object *outbox = report_member(status, "outbox");

	buf_add_text(out, "connections    ");
	add_value(out, status, "total_connections");
	buf_add_text(out, " of ");
	add_value(out, status, "users_online");
	buf_add_text(out, " users: ");
	add_counts(out, report_member(status, "connections_by_transport"));
	buf_add_text(out, "\nsince start    ");
	add_value(out, status, "connections_opened");
	buf_add_text(out, "\nsubscriptions  ");
	add_counts(out, report_member(status, "subscriptions"));
	buf_add_text(out, "\nby diagnosis   ");
	add_counts(out, report_member(status, "connections_by_diagnosis"));
	buf_add_text(out, "\nwaiting        ");
	add_counts(out, report_member(status, "queued_messages_by_diagnosis"));
	buf_add_text(out, "\noutbox         due ");
	add_value(out, outbox, "messages");
	buf_add_text(out, ", the oldest for ");
	add_value(out, outbox, "oldest_s");
	buf_add_text(out, " s; given up ");
	add_value(out, outbox, "failed");
	buf_add_text(out, "\n");
	add_nodes(out, report_member(status, "nodes"));
}

static int tell(const struct arguments *a, const struct buf *json)
{
	struct buf text = BUF_EMPTY;
	json_object *status = NULL;
	const char *problem = NULL;
	enum err e = OK;

	if (a->json)
		return report_json(json);
	e = json_read(&status, json->bytes, json->len, &problem);
	if (e == OK)
		add_for_people(&text, status);
	json_object_put(status);
	if (e == OK && buf_ok(&text))
		fputs(text.bytes, stdout);
	else
		e = e == OK ? ERR_MEMORY : e;
	buf_free(&text);
	return e == OK ? EXIT_DONE : command_failed(NULL, e);
}

int status_command(const struct arguments *a)
{
	bool watch = arguments_value(a, "watch");
	bool again = false;
	struct buf json = BUF_EMPTY;
	struct config config;
	struct db *db = NULL;
	int status = command_connect(&config, &db, "tidings_status", "tidings status command");

	while (status == EXIT_DONE) {
		enum err e = OK;

		buf_clear(&json);
		e = overview_totals(db, &json);
		if (e == ERR_AWAY && watch && again) {
			complain("%s", db_problem(db)); /* and it may come back */
		} else if (e != OK) {
			status = command_failed(db, e);
		} else {
			if (watch && !a->json)
				fputs(isatty(STDOUT_FILENO) ? "\033[H\033[J" : again ? "\n" : "", stdout);
			status = tell(a, &json);
		}
		if (!watch || fflush(stdout) != 0)
			break;
		again = true;
		sleep(WATCH_S);
	}
	buf_free(&json);
	db_close(&db);
	return status;
}
