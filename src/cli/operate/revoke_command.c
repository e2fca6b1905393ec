/*
 * Where the rights are tables of tidings they end by themselves. This is for who has replaced tidings.authorize(): it logs in
 * as who migrates.
 */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/report.h"
#include "domain/text/json.h"
#include "domain/topic/topic.h"
#include "store/operation/revocation_admin.h"

/*	user	NULL: everybody; "": who has no token */
static int tell(const struct arguments *a, const char *topic, const char *user)
{
	struct buf json = BUF_EMPTY;
	int status = EXIT_DONE;

	if (!a->json) {
		printf("%s: the subscriptions of %s end\n", topic,
		       !user   ? "everybody"
		       : *user ? user
			       : "who has no token");
		return EXIT_DONE;
	}
	buf_printf(&json, "{\"topic\":\"%s\",\"user_id\":", topic);
	if (user)
		json_add_string(&json, user, strlen(user));
	else
		buf_add_text(&json, "null");
	buf_add_text(&json, ",\"status\":\"revoked\"}");
	status = report_json(&json);
	buf_free(&json);
	return status;
}

int revoke_command(const struct arguments *a)
{
	const char *topic = a->operands[0];
	bool everyone = arguments_value(a, "everyone");
	bool anonymous = arguments_value(a, "anonymous");
	const char *user = a->count > 1 ? a->operands[1] : everyone ? NULL : "";
	struct config config;
	struct db *db = NULL;
	int status = EXIT_WRONG;

	if ((a->count > 1) + everyone + anonymous != 1) {
		complain("whose? A user, --anonymous or --everyone");
		return status;
	}
	if (!topic_name_valid(topic, strlen(topic)) || (a->count > 1 && !user_id_valid(user, strlen(user)))) {
		complain("that is not the name of a topic and of a user");
		return status;
	}
	status = command_connect(&config, &db, NULL, "tidings revoke");
	if (status == EXIT_DONE) {
		enum err e = revocation_admin_revoke(db, user, topic);

		status = e == OK ? tell(a, topic, user) : command_failed(db, e);
	}
	db_close(&db);
	return status;
}
