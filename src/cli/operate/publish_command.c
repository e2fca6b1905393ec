/* Publishes as a service, by the same rules, and the same function of the database, as POST /ws/publish. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/report.h"
#include "domain/input/broadcast.h"
#include "domain/text/json.h"
#include "store/publish/publish_batch.h"

#define INPUT_MAX 1048576 /* bytes */

/* What became of each, for people. */
static const char *outcome_sentence(const struct publish_result *result)
{
	switch (result->outcome) {
	case PUBLISH_OK:
		return NULL;
	case PUBLISH_SCHEDULED:
		return "will be published in its time";
	case PUBLISH_REPLAYED:
		return "was published before, with this key";
	case PUBLISH_FORBIDDEN:
		return "refused: tidings.authorize() lets no service publish here";
	case PUBLISH_NOT_FOUND:
		return "refused: there is no such diagnosis";
	case PUBLISH_WITHHELD:
		return "not published: another of them was refused";
	case PUBLISH_KEY_REUSED:
		return "refused: this key was used for another message within the last 24 hours";
	case PUBLISH_OVER_QUOTA:
		return "refused: over the day's quota";
	}
	return "unknown";
}

static int outcome_status(enum publish_outcome outcome)
{
	if (outcome == PUBLISH_OK || outcome == PUBLISH_SCHEDULED || outcome == PUBLISH_REPLAYED)
		return EXIT_DONE;
	return outcome == PUBLISH_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_FAILED;
}

static void add_member(struct buf *body, const char *name, const char *text)
{
	if (!text)
		return;
	buf_printf(body, "\"%s\":", name);
	json_add_string(body, text, strlen(text));
	buf_add_text(body, ",");
}

/* As POST /ws/publish takes it. The data are JSON by themselves, which has been seen to. */
static void add_item(struct buf *body, const struct arguments *a, struct span data)
{
	buf_add_text(body, "{");
	add_member(body, "topic", a->operands[0]);
	add_member(body, "type", a->operands[1]);
	add_member(body, "to_user_id", arguments_value(a, "to-user"));
	add_member(body, "deliver_at", arguments_value(a, "deliver-at"));
	if (arguments_value(a, "ephemeral"))
		buf_add_text(body, "\"ephemeral\":true,");
	buf_add_text(body, "\"data\":");
	buf_add(body, data.bytes, data.len);
	buf_add_text(body, "}");
}

static enum err make_body(const struct arguments *a, const struct buf *data, struct buf *body)
{
	struct span rest = {data->bytes, data->len}, item;
	json_object *root = NULL;
	const char *problem = "";
	bool is_list = arguments_value(a, "array");
	enum err e = json_read(&root, data->bytes, data->len, &problem);

	if (e == ERR_INPUT) {
		complain("the data is not JSON: %s", problem);
	} else if (e == OK && is_list && !json_object_is_type(root, json_type_array)) {
		complain("the data is not an array");
		e = ERR_INPUT;
	} else if (e != OK) {
		complain("%s", err_text(e));
	}
	json_object_put(root);
	if (e != OK)
		return e;
	if (!is_list) {
		add_item(body, a, rest);
	} else {
		for (const char *before = "["; json_next(&rest, &item); before = ",") {
			buf_add_text(body, before);
			add_item(body, a, item);
		}
		buf_add_text(body, body->len > 0 ? "]" : "[]");
	}
	return buf_ok(body) ? OK : ERR_MEMORY;
}

/* Every field that is wrong, a line each. */
static void complain_of(const struct problem *problem)
{
	struct buf text = BUF_EMPTY;
	json_object *errors = NULL;
	const char *why = NULL;

	buf_printf(&text, "[%s]", problem->errors_count > 0 ? problem->errors.bytes : "");
	if (!buf_ok(&text) || json_read(&errors, text.bytes, text.len, &why) != OK ||
	    json_object_array_length(errors) == 0)
		complain("%s", problem->detail ? problem->detail : err_text(ERR_INPUT));
	for (size_t i = 0; errors && i < json_object_array_length(errors); i++) {
		json_object *error = json_object_array_get_idx(errors, i);

		complain("%s %s", json_object_get_string(report_member(error, "field")),
			 json_object_get_string(report_member(error, "message")));
	}
	json_object_put(errors);
	buf_free(&text);
}

static int tell(const struct arguments *a, const struct publications *p, const struct publish_result *results)
{
	struct buf reply = BUF_EMPTY;
	int status = EXIT_DONE;

	for (size_t i = 0; i < p->count; i++) {
		const char *sentence = outcome_sentence(&results[i]);
		int of_this = outcome_status(results[i].outcome);

		status = status == EXIT_DONE ? of_this : status;
		if (of_this != EXIT_DONE)
			complain("%s: %s", p->items[i].topic, sentence);
		else if (!a->json && sentence)
			printf("%s: %s\n", p->items[i].topic, sentence);
		else if (!a->json)
			printf("%s: seq %lld, %lld clients\n", p->items[i].topic, (long long)results[i].seq,
			       (long long)results[i].clients);
	}
	if (a->json && status == EXIT_DONE) {
		broadcast_write_reply(&reply, BROADCAST_PUBLISH, p, results);
		status = report_json(&reply);
	}
	buf_free(&reply);
	return status;
}

static int publish(const struct arguments *a, const struct buf *body, const struct publications *p)
{
	struct publish_result *results = calloc(p->count, sizeof(*results));
	struct publish_request request = {.caller = COMMAND_USER,
					  .role = ROLE_SERVICE,
					  .key = arguments_value(a, "key"),
					  .fingerprint = {body->bytes, body->len},
					  .publications = p,
					  .results = results};
	struct publish_request *requests[] = {&request};
	struct publish_batch *batch = NULL;
	struct config config;
	struct db *db = NULL;
	enum err e = OK;
	int status = command_connect(&config, &db, "tidings_publisher", "tidings publish");

	if (status == EXIT_DONE && body->len > (size_t)config.body_max_bytes) {
		complain("it is %zu bytes as a request, and TIDINGS_BODY_MAX is %lld", body->len,
			 (long long)config.body_max_bytes);
		status = EXIT_FAILED;
	}
	if (status == EXIT_DONE) {
		e = results ? publish_batch_new(&batch, &config) : ERR_MEMORY;
		if (e == OK)
			e = publish_batch_run(batch, db, requests, 1, false);
		if (e == OK && request.busy)
			e = ERR_BUSY;
		status = e == OK ? tell(a, p, results) : command_failed(db, e);
	}
	if (e == ERR_UNKNOWN)
		complain("it may have been published: with the same --key it is safe to try again");
	publish_batch_free(&batch);
	db_close(&db);
	free(results);
	return status;
}

/* Of an Idempotency-Key (spec 3.1). */
static bool is_printable(const char *key)
{
	size_t len = 0;

	for (; key[len]; len++)
		if (key[len] < 0x20 || key[len] > 0x7e)
			return false;
	return len > 0 && len <= 128;
}

int publish_command(const struct arguments *a)
{
	const char *text = a->count > 2 ? a->operands[2] : "{}";
	struct publications publications = PUBLICATIONS_NONE;
	struct problem problem = PROBLEM_NONE;
	struct buf data = BUF_EMPTY, body = BUF_EMPTY;
	const char *key = arguments_value(a, "key");
	int status = EXIT_FAILED;
	enum err e = OK;

	if (key && !is_printable(key)) {
		complain("--key is 1 to 128 printable characters");
		return EXIT_WRONG;
	}
	if (strcmp(text, "-") == 0)
		e = command_read_input(text, INPUT_MAX, &data);
	else
		buf_add_text(&data, text);
	if (e == OK)
		e = make_body(a, &data, &body);
	if (e == OK) {
		e = broadcast_read(BROADCAST_PUBLISH, (struct span){body.bytes, body.len}, clock_wall_us(),
				   &publications, &problem);
		if (e == ERR_INPUT)
			complain_of(&problem);
		else if (e != OK)
			complain("%s", err_text(e));
	}
	if (e == OK)
		status = publish(a, &body, &publications);
	publications_free(&publications);
	problem_free(&problem);
	buf_free(&data);
	buf_free(&body);
	return status;
}
