#include "domain/dialog/dialog.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "domain/caller/user_id.h"
#include "domain/http/problem.h"
#include "domain/input/fields.h"
#include "domain/text/json.h"

static void add_head(struct buf *out, const struct dialog *d, const char *type)
{
	buf_printf(out, "{\"type\":\"%s\",", type);
	if (d->diagnosis_id > 0)
		buf_printf(out, "\"diagnosis_id\":%" PRId64 ",", d->diagnosis_id);
}

static void begin_data(struct buf *out)
{
	buf_add_text(out, "\"data\":{");
}

void dialog_connect(struct buf *out, const struct dialog *d, const struct dialog_welcome *w, int64_t wall_us)
{
	char connection_id[UUID_TEXT_SIZE], timestamp[CLOCK_TEXT_SIZE];

	add_head(out, d, "connect");
	begin_data(out);
	buf_add_text(out, "\"user_id\":");
	user_id_add_json(out, w->user_id);
	buf_printf(out,
		   ",\"timestamp\":\"%s\",\"message\":\"Successfully connected to "
		   "%s\",\"connection_id\":\"%s\",\"cursor\":\"",
		   clock_text(timestamp, wall_us), d->diagnosis_id > 0 ? "diagnosis updates" : "updates",
		   uuid_text(connection_id, &w->connection_id));
	resume_points_add_cursor(out, w->points, w->points_count);
	buf_add_text(out, "\",");
	resume_points_add_recovery(out, w->points, w->points_count, d->diagnosis_id == 0);
	buf_add_text(out, "}}");
}

void dialog_missed_begin(struct buf *out, const struct dialog *d, const char *topic, bool rewound)
{
	add_head(out, d, "reconnect_messages");
	if (d->diagnosis_id == 0)
		buf_printf(out, "\"topic\":\"%s\",", topic);
	begin_data(out);
	if (rewound)
		buf_add_text(out, "\"rewound\":true,");
	buf_add_text(out, "\"messages\":[");
}

void dialog_missed_add(struct buf *out, bool first, struct span message)
{
	if (!first)
		buf_add_text(out, ",");
	buf_add(out, message.bytes, message.len);
}

void dialog_missed_end(struct buf *out)
{
	buf_add_text(out, "]}}");
}

static void add_pong(struct buf *out, const struct dialog *d, int64_t wall_us)
{
	char timestamp[CLOCK_TEXT_SIZE];

	add_head(out, d, "pong");
	begin_data(out);
	buf_printf(out, "\"timestamp\":\"%s\"", clock_text(timestamp, wall_us));
	if (d->cursor)
		buf_printf(out, ",\"cursor\":\"%s\"", d->cursor);
	buf_add_text(out, "}}");
}

bool dialog_bear(struct dialog *d, const struct dialog_limits *limits, int64_t now_us)
{
	/* A clock that is 60 times slower: so one comes back each minute, not each second. */
	return rate_take(&d->bad, 1, limits->bad_max, RATE_ONE, now_us / 60, NULL);
}

static enum dialog_verdict refuse(struct dialog *d, const struct dialog_limits *limits, int64_t now_us,
				  const char *code, const char *message, const struct problem *wrong, struct buf *reply)
{
	if (!dialog_bear(d, limits, now_us))
		return DIALOG_TOO_MANY_BAD;
	add_head(reply, d, "error");
	begin_data(reply);
	buf_printf(reply, "\"code\":\"%s\",\"message\":\"%s\"", code, message);
	if (wrong)
		problem_add_errors(reply, wrong);
	buf_add_text(reply, "}}");
	return DIALOG_GO_ON;
}

int64_t dialog_cost(size_t bytes)
{
	return MAX(RATE_ONE, (int64_t)bytes);
}

bool dialog_take(struct dialog *d, const struct dialog_limits *limits, int64_t cost, int64_t now_us)
{
	return rate_take(&d->bucket, limits->rate_per_s, limits->burst, cost, now_us, NULL);
}

void dialog_charge(struct dialog *d, const struct dialog_limits *limits, int64_t cost, int64_t now_us)
{
	rate_charge(&d->bucket, limits->rate_per_s, cost, now_us);
}

enum dialog_verdict dialog_refuse_rate(struct dialog *d, const struct dialog_limits *limits, int64_t now_us,
				       struct buf *reply)
{
	return refuse(d, limits, now_us, "rate_limited", "Too many messages: slow down.", NULL, reply);
}

void dialog_forbidden(struct buf *out, const struct dialog *d, const char *topic, const char *message)
{
	add_head(out, d, "error");
	begin_data(out);
	buf_printf(out, "\"code\":\"forbidden\",\"message\":\"%s\",\"topic\":\"%s\"}}", message, topic);
}

/* The one member that a message of this type has. */
static bool read_member(const struct field_rule *rule, struct json_object *root, struct span text, struct field *member,
			struct problem *wrong)
{
	return fields_read(rule, 1, root, text, "", member, wrong);
}

static enum dialog_verdict hear(struct dialog *d, const struct dialog_limits *limits, struct json_object *root,
				struct span text, int64_t now_us, int64_t wall_us, struct buf *reply)
{
	static const struct field_rule type_rule = {"type", FIELD_TEXT_128, true};
	static const struct field_rule seq_rule = {"seq", FIELD_COUNT, true};
	static const struct field_rule topic_rule = {"topic", FIELD_TOPIC, false};
	static const struct field_rule token_rule = {"token", FIELD_TOKEN, true};
	static const struct field_rule device_rule = {"device", FIELD_DEVICE, false};
	struct problem wrong = PROBLEM_NONE;
	enum dialog_verdict verdict = DIALOG_GO_ON;
	struct field type, member, other;
	const char *name = read_member(&type_rule, root, text, &type, &wrong) ? field_text(&type) : "";
	bool good = name[0] != '\0';

	if (strcmp(name, "ping") == 0) {
		d->heard = DIALOG_PING;
		add_pong(reply, d, wall_us);
	} else if (strcmp(name, "ack") == 0) {
		good = read_member(&seq_rule, root, text, &member, &wrong) &&
		       read_member(&topic_rule, root, text, &other, &wrong);
		d->heard = good ? DIALOG_ACK : DIALOG_NOTHING;
		if (good && d->ack) {
			d->ack->seq = (uint64_t)field_integer(&member);
			snprintf(d->ack->topic, sizeof(d->ack->topic), "%s",
				 field_given(&other) ? field_text(&other) : "");
		}
	} else if (strcmp(name, "authenticate") == 0 && d->identified) {
		verdict = refuse(d, limits, now_us, "already_authenticated", "This connection has its user.", NULL,
				 reply);
	} else if (strcmp(name, "authenticate") == 0) {
		good = read_member(&token_rule, root, text, &member, &wrong) &&
		       read_member(&device_rule, root, text, &other, &wrong);
		if (good) {
			d->heard = DIALOG_TOKEN;
			if (field_given(&other))
				snprintf(d->device, sizeof(d->device), "%s", field_text(&other));
			buf_add_text(reply, field_text(&member));
			verdict = DIALOG_AUTHENTICATE;
		}
	} else if (d->diagnosis_id == 0 && (strcmp(name, "subscribe") == 0 || strcmp(name, "unsubscribe") == 0)) {
		if (d->identified) {
			d->heard = name[0] == 's' ? DIALOG_SUBSCRIBE : DIALOG_UNSUBSCRIBE;
			verdict = DIALOG_TOPICS;
		} else {
			verdict = refuse(d, limits, now_us, "not_authenticated", "Authenticate first.", NULL, reply);
		}
	} else if (good) {
		verdict = refuse(d, limits, now_us, "unknown_type", "There is no such type of message here.", NULL,
				 reply);
	}
	if (!good)
		verdict = refuse(d, limits, now_us, "invalid_message", wrong.detail, &wrong, reply);
	problem_free(&wrong);
	return verdict;
}

enum dialog_verdict dialog_receive(struct dialog *d, const struct dialog_limits *limits, struct span text,
				   int64_t now_us, int64_t wall_us, struct buf *reply)
{
	struct json_object *root = NULL;
	enum dialog_verdict verdict = DIALOG_GO_ON;
	const char *problem;
	enum err e;

	d->heard = DIALOG_NOTHING;
	if (text.len == strlen("ping") && memcmp(text.bytes, "ping", text.len) == 0) {
		d->heard = DIALOG_PING;
		add_pong(reply, d, wall_us);
		return DIALOG_GO_ON;
	}
	e = json_read(&root, text.bytes, text.len, &problem);
	if (e == ERR_MEMORY)
		reply->failed = true;
	else if (e == OK && json_object_is_type(root, json_type_object))
		verdict = hear(d, limits, root, text, now_us, wall_us, reply);
	else
		verdict = refuse(d, limits, now_us, "invalid_message", "A message must be a JSON object.", NULL, reply);
	json_object_put(root);
	return verdict;
}
