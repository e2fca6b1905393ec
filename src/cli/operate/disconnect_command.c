/* Connections that are told to go, or to come again: each by the same function of the database as the web server's routes. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/report.h"
#include "domain/caller/user_id.h"
#include "domain/text/json.h"
#include "store/request/connection_admin.h"

#define WAIT_MS 5000

/* One operand: its line, or a complaint. */
typedef int act_on(struct db *db, const char *subject, struct buf *json);

static int disconnect(struct db *db, const char *subject, struct buf *json)
{
	struct admin_request request = {COMMAND_USER, "admin", subject};
	bool gone = false;
	enum err e = connection_admin_disconnect(db, &request, WAIT_MS, &gone);

	if (e == OK && gone) {
		buf_add_text(json, "{\"connection_id\":");
		json_add_string(json, subject, strlen(subject));
		buf_add_text(json, ",\"status\":\"disconnected\"}");
		return EXIT_DONE;
	}
	if (e == OK) {
		complain("%s: its node has not closed it within %d s: it may still do so", subject, WAIT_MS / 1000);
		return EXIT_UNKNOWN;
	}
	if (e != ERR_NOT_FOUND)
		return command_failed(db, e);
	complain("%s: there is no such connection; see tidings connections", subject);
	return EXIT_NOT_FOUND;
}

static int reconnect(struct db *db, const char *subject, struct buf *json)
{
	struct admin_request request = {COMMAND_USER, "admin", subject};
	int64_t connections = 0;
	enum err e = user_id_valid(subject, strlen(subject)) ? connection_admin_reconnect(db, &request, &connections)
							     : ERR_FORBIDDEN;

	if (e == OK) {
		buf_add_text(json, "{\"user_id\":");
		json_add_string(json, subject, strlen(subject));
		buf_printf(json, ",\"status\":\"reconnecting\",\"connections\":%lld}", (long long)connections);
		return EXIT_DONE;
	}
	if (e != ERR_FORBIDDEN)
		return command_failed(db, e);
	complain("%s is not the name of a user", subject);
	return EXIT_NOT_FOUND;
}

/* All of them, whatever becomes of one: the status is that of the first that failed. */
static int act_on_all(const struct arguments *a, const char *name, act_on *act, const struct report_column *columns,
		      size_t count)
{
	struct buf json = BUF_EMPTY, one = BUF_EMPTY;
	struct config config;
	struct db *db = NULL;
	int status = command_connect(&config, &db, "tidings_publisher", name);
	int shown = status;

	buf_add_text(&json, "[");
	for (size_t i = 0; db_is_open(db) && i < a->count; i++) {
		int of_this;

		buf_clear(&one);
		of_this = act(db, a->operands[i], &one);
		status = status == EXIT_DONE ? of_this : status;
		if (of_this == EXIT_DONE)
			buf_printf(&json, "%s%s", json.len > 1 ? "," : "", one.bytes);
	}
	if (json.len > 1) {
		buf_add_text(&json, "]");
		shown = report_table(&json, a->json, columns, count, "");
		status = status == EXIT_DONE ? shown : status;
	}
	buf_free(&json);
	buf_free(&one);
	db_close(&db);
	return status;
}

int disconnect_command(const struct arguments *a)
{
	static const struct report_column columns[] = {{"connection_id", "CONNECTION"}, {"status", "STATUS"}};

	return act_on_all(a, "tidings disconnect", disconnect, columns, ARRAY_LEN(columns));
}

int reconnect_command(const struct arguments *a)
{
	static const struct report_column columns[] = {
		{"user_id", "USER"}, {"status", "STATUS"}, {"connections", "CONNECTIONS"}};

	return act_on_all(a, "tidings reconnect", reconnect, columns, ARRAY_LEN(columns));
}
