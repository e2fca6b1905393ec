#include "domain/client_message.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "domain/decimal.h"
#include "domain/fields.h"
#include "domain/json.h"

/* --- acts */

enum { ACK_TOPIC, ACK_SEQ, ACK_ID };

static const struct field_rule ack_rules[] = {
	[ACK_TOPIC] = {"topic", FIELD_TOPIC, false},
	[ACK_SEQ] = {"seq", FIELD_COUNT, false},
	[ACK_ID] = {"id", FIELD_UUID, false},
};

static const struct field_rule chat_message_rules[] = {
	{"conversation_id", FIELD_UUID, true},
	{"message", FIELD_WORDS, true},
	{"sender", FIELD_NAME, false},
};

static const struct field_rule create_conversation_rules[] = {
	{"participants", FIELD_USERS, true},
	{"conversation_id", FIELD_UUID, false},
};

static const struct field_rule get_health_rules[] = {
	{"metric", FIELD_NAME, false},
	{"since", FIELD_TIME, false},
	{"limit", FIELD_UP_TO_500, false},
	{"user_id", FIELD_USER, false},
};

static const struct field_rule get_history_rules[] = {
	{"conversation_id", FIELD_UUID, true},
	{"before", FIELD_ID, false},
	{"limit", FIELD_UP_TO_100, false},
};

static const struct field_rule get_notifications_rules[] = {
	{"unread_only", FIELD_BOOL, false},
	{"limit", FIELD_UP_TO_100, false},
};

static const struct field_rule get_thresholds_rules[] = {
	{"user_id", FIELD_USER, false},
};

static const struct field_rule health_update_rules[] = {
	{"metric", FIELD_NAME, true},	  {"value", FIELD_NUMBER, true},  {"unit", FIELD_NAME, false},
	{"timestamp", FIELD_TIME, false}, {"user_id", FIELD_USER, false},
};

static const struct field_rule broadcast_health_rules[] = {
	{"user_id", FIELD_USER, true}, {"metric", FIELD_NAME, true},	 {"value", FIELD_NUMBER, true},
	{"unit", FIELD_NAME, false},   {"timestamp", FIELD_TIME, false},
};

static const struct field_rule join_rules[] = {
	{"conversation_id", FIELD_UUID, true},
	{"user_id", FIELD_USER, false},
};

static const struct field_rule mark_read_rules[] = {
	{"id", FIELD_UUID, true},
};

static const struct field_rule notify_rules[] = {
	{"user_id", FIELD_USER, true},	{"type", FIELD_NOTICE, true},	     {"title", FIELD_NAME, true},
	{"message", FIELD_WORDS, true}, {"priority", FIELD_PRIORITY, false}, {"deliver_at", FIELD_TIME, false},
};

static const struct field_rule set_preferences_rules[] = {
	{"types", FIELD_SWITCHES, false},
	{"quiet_hours", FIELD_QUIET_HOURS, false},
};

enum { THRESHOLD_LOW = 1, THRESHOLD_HIGH, THRESHOLD_SEVERITY };

static const struct field_rule set_threshold_rules[] = {
	{"metric", FIELD_NAME, true},
	[THRESHOLD_LOW] = {"low", FIELD_BOUND, false},
	[THRESHOLD_HIGH] = {"high", FIELD_BOUND, false},
	[THRESHOLD_SEVERITY] = {"severity", FIELD_PRIORITY, false},
	{"user_id", FIELD_USER, false},
};

static const struct field_rule typing_rules[] = {
	{"conversation_id", FIELD_UUID, true},
	{"is_typing", FIELD_BOOL, true},
};

/* --- the connection's own */

enum { TOKEN };

static const struct field_rule token_rules[] = {
	[TOKEN] = {"token", FIELD_TOKEN, true},
};

enum { SUBSCRIPTION, CURSOR };

static const struct field_rule subscribe_rules[] = {
	[SUBSCRIPTION] = {"subscription", FIELD_NAME, true},
	[CURSOR] = {"cursor", FIELD_NAME, false},
};

static const struct field_rule unsubscribe_rules[] = {
	[SUBSCRIPTION] = {"subscription", FIELD_NAME, true},
};

/* --- all of them */

enum sort { ACT, HTTP_ACT, QUESTION, OWN }; /* a question changes nothing */

#define RULES(table) (table), ARRAY_LEN(table)

static const struct kind {
	const char *name;
	enum sort sort;
	const struct field_rule *rules;
	size_t rules_count;
} kinds[] = {
	[CLIENT_ACK] = {"ack", ACT, RULES(ack_rules)},
	[CLIENT_AUTHENTICATE] = {"authenticate", OWN, RULES(token_rules)},
	[CLIENT_BROADCAST_CHAT] = {"chat_message", HTTP_ACT, RULES(chat_message_rules)},
	[CLIENT_BROADCAST_HEALTH] = {"health_update", HTTP_ACT, RULES(broadcast_health_rules)},
	[CLIENT_CHAT_MESSAGE] = {"chat_message", ACT, RULES(chat_message_rules)},
	[CLIENT_CREATE_CONVERSATION] = {"create_conversation", ACT, RULES(create_conversation_rules)},
	[CLIENT_GET_HEALTH] = {"get_health", QUESTION, RULES(get_health_rules)},
	[CLIENT_GET_HISTORY] = {"get_history", QUESTION, RULES(get_history_rules)},
	[CLIENT_GET_NOTIFICATIONS] = {"get_notifications", QUESTION, RULES(get_notifications_rules)},
	[CLIENT_GET_PREFERENCES] = {"get_preferences", QUESTION, NULL, 0},
	[CLIENT_GET_THRESHOLDS] = {"get_thresholds", QUESTION, RULES(get_thresholds_rules)},
	[CLIENT_HEALTH_UPDATE] = {"health_update", ACT, RULES(health_update_rules)},
	[CLIENT_JOIN] = {"join", ACT, RULES(join_rules)},
	[CLIENT_MARK_READ] = {"mark_read", ACT, RULES(mark_read_rules)},
	[CLIENT_NOTIFY] = {"notify", HTTP_ACT, RULES(notify_rules)},
	[CLIENT_PING] = {"ping", OWN, NULL, 0},
	[CLIENT_REFRESH_TOKEN] = {"refresh_token", OWN, RULES(token_rules)},
	[CLIENT_SET_PREFERENCES] = {"set_preferences", ACT, RULES(set_preferences_rules)},
	[CLIENT_SET_THRESHOLD] = {"set_threshold", ACT, RULES(set_threshold_rules)},
	[CLIENT_SUBSCRIBE] = {"subscribe", OWN, RULES(subscribe_rules)},
	[CLIENT_TYPING] = {"typing", ACT, RULES(typing_rules)},
	[CLIENT_UNSUBSCRIBE] = {"unsubscribe", OWN, RULES(unsubscribe_rules)},
};

#define FIELDS_MAX ARRAY_LEN(notify_rules)

_Static_assert(ARRAY_LEN(health_update_rules) <= FIELDS_MAX && ARRAY_LEN(broadcast_health_rules) <= FIELDS_MAX &&
		       ARRAY_LEN(set_threshold_rules) <= FIELDS_MAX,
	       "a table is larger than read_members() has room for");

bool client_type_is_act(enum client_type type)
{
	return kinds[type].sort != OWN;
}

const char *client_type_text(enum client_type type)
{
	return kinds[type].name;
}

const char *client_type_missing(enum client_type type)
{
	if (kinds[type].rules == chat_message_rules || kinds[type].rules == get_history_rules ||
	    kinds[type].rules == join_rules || kinds[type].rules == typing_rules)
		return "There is no such conversation.";
	if (kinds[type].rules == ack_rules || kinds[type].rules == mark_read_rules)
		return "There is no such notification.";
	return "There is no such user.";
}

static bool changes_something(const struct kind *k)
{
	return k->sort == ACT || k->sort == HTTP_ACT;
}

static bool find_type(const char *name, enum client_type *type)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (kinds[i].sort != HTTP_ACT && strcmp(kinds[i].name, name) == 0) {
			*type = (enum client_type)i;
			return true;
		}
	}
	return false;
}

/* A member by its name, and how it was written. */
static bool find_member(struct json_object *object, struct span text, const char *name, struct field *f)
{
	struct span rest = text;

	json_object_object_foreach(object, key, member)
	{
		if (!json_next(&rest, &f->text))
			break;
		f->value = member;
		if (strcmp(key, name) == 0)
			return true;
	}
	*f = (struct field){0};
	return false;
}

static enum err refuse(struct client_fault *fault, const char *code, const char *sentence)
{
	fault->code = code;
	fault->sentence = sentence;
	return ERR_INPUT;
}

static enum err refuse_form(struct client_fault *fault)
{
	return refuse(fault, "invalid_message", "A message must be a JSON object.");
}

static enum err refuse_members(struct client_fault *fault)
{
	return refuse(fault, "invalid_message", fault->problem.detail);
}

static void read_correlation_id(struct client_message *m, struct json_object *root, struct span text,
				struct problem *problem)
{
	static const struct field_rule rule[] = {{"correlation_id", FIELD_NAME, false}};
	struct field f;

	if (fields_read(rule, 1, root, text, "", &f, problem) && field_given(&f))
		json_add_compact(&m->correlation_id, f.text);
}

/* What no field alone can tell. */
static void check_members(enum client_type type, const struct field *fields, struct problem *problem)
{
	if (type == CLIENT_ACK) {
		bool whole = field_given(&fields[ACK_TOPIC]) && field_given(&fields[ACK_SEQ]);

		if (field_given(&fields[ACK_ID]) ? field_given(&fields[ACK_TOPIC]) || field_given(&fields[ACK_SEQ])
						 : !whole)
			problem_add_field(problem, "", "topic", "is required with seq, or id instead of both");
	}
	if (type == CLIENT_SET_THRESHOLD) {
		const struct field *low = &fields[THRESHOLD_LOW], *high = &fields[THRESHOLD_HIGH];

		if (low->value && high->value && decimal_compare(low->text, high->text) >= 0)
			problem_add_field(problem, "", "low", "must be smaller than high");
		if (!field_given(low) && !field_given(high) && !field_given(&fields[THRESHOLD_SEVERITY]))
			problem_add_field(problem, "", "low",
					  "is required, or high, or severity; null takes a bound away");
	}
}

static void copy_text(char *out, size_t size, const struct field *f)
{
	if (field_given(f))
		snprintf(out, size, "%s", field_text(f));
}

/* For the connection itself. */
static void keep_members(struct client_message *m, const struct field *fields)
{
	struct uuid u;

	switch (m->type) {
	case CLIENT_ACK:
		copy_text(m->topic, sizeof(m->topic), &fields[ACK_TOPIC]);
		if (field_given(&fields[ACK_SEQ]))
			m->seq = field_integer(&fields[ACK_SEQ]);
		if (field_given(&fields[ACK_ID]) &&
		    uuid_parse(&u, field_text(&fields[ACK_ID]), strlen(field_text(&fields[ACK_ID]))))
			uuid_text(m->id, &u);
		break;
	case CLIENT_AUTHENTICATE:
	case CLIENT_REFRESH_TOKEN:
		buf_add_text(&m->token, field_text(&fields[TOKEN]));
		break;
	case CLIENT_SUBSCRIBE:
		copy_text(m->cursor, sizeof(m->cursor), &fields[CURSOR]);
		copy_text(m->subscription, sizeof(m->subscription), &fields[SUBSCRIPTION]);
		break;
	case CLIENT_UNSUBSCRIBE:
		copy_text(m->subscription, sizeof(m->subscription), &fields[SUBSCRIPTION]);
		break;
	case CLIENT_BROADCAST_CHAT:
	case CLIENT_BROADCAST_HEALTH:
	case CLIENT_CHAT_MESSAGE:
	case CLIENT_CREATE_CONVERSATION:
	case CLIENT_GET_HEALTH:
	case CLIENT_GET_HISTORY:
	case CLIENT_GET_NOTIFICATIONS:
	case CLIENT_GET_PREFERENCES:
	case CLIENT_GET_THRESHOLDS:
	case CLIENT_HEALTH_UPDATE:
	case CLIENT_JOIN:
	case CLIENT_MARK_READ:
	case CLIENT_NOTIFY:
	case CLIENT_PING:
	case CLIENT_SET_PREFERENCES:
	case CLIENT_SET_THRESHOLD:
	case CLIENT_TYPING:
		break;
	}
}

static void write_data(struct buf *out, const struct kind *k, const struct field *fields)
{
	bool first = true;

	buf_add_text(out, "{");
	for (size_t i = 0; i < k->rules_count; i++) {
		if (!field_given(&fields[i]))
			continue;
		buf_printf(out, "%s\"%s\":", first ? "" : ",", k->rules[i].name);
		field_add_json(out, &k->rules[i], &fields[i]);
		first = false;
	}
	buf_add_text(out, "}");
}

/*
 *	also	what else may stand beside the members; ends with NULL
 */
static void read_members(struct client_message *m, struct json_object *object, struct span text,
			 const char *const *also, struct problem *problem)
{
	const struct kind *k = &kinds[m->type];
	struct field fields[FIELDS_MAX] = {0};

	if (k->rules_count > 0 && fields_read(k->rules, k->rules_count, object, text, "", fields, problem))
		check_members(m->type, fields, problem);
	if (changes_something(k))
		fields_refuse_others(k->rules, k->rules_count, also, object, "", problem);
	if (problem->errors_count > 0)
		return;
	keep_members(m, fields);
	if (k->sort != OWN)
		write_data(&m->data, k, fields);
}

/* Where the members are: in `data`, or beside it. */
static void read_data(struct client_message *m, struct json_object *root, struct span text, struct problem *problem)
{
	static const char *const envelope[] = {"type", "data", "timestamp", "correlation_id", NULL};
	struct field data;

	if (!find_member(root, text, "data", &data) || !data.value) {
		read_members(m, root, text, envelope, problem);
	} else if (!json_object_is_type(data.value, json_type_object)) {
		problem_add_field(problem, "", "data", "must be an object");
	} else if (json_object_object_length(data.value) == 0) {
		read_members(m, root, text, envelope, problem);
	} else {
		if (changes_something(&kinds[m->type]))
			fields_refuse_others(NULL, 0, envelope, root, "", problem);
		read_members(m, data.value, data.text, envelope + ARRAY_LEN(envelope) - 1, problem);
	}
}

static enum err read_message(struct client_message *m, struct json_object *root, struct span text,
			     struct client_fault *fault)
{
	struct field type;

	read_correlation_id(m, root, text, &fault->problem);
	if (!find_member(root, text, "type", &type) || !json_object_is_type(type.value, json_type_string)) {
		problem_add_field(&fault->problem, "", "type", type.value ? "must be text" : "is required");
		return refuse_members(fault);
	}
	if (!find_type(field_text(&type), &m->type)) {
		problem_add_field(&fault->problem, "", "type", "is none that is known here");
		return refuse(fault, "unknown_type", "There is no such type of message here.");
	}
	read_data(m, root, text, &fault->problem);
	return fault->problem.errors_count > 0 ? refuse_members(fault) : OK;
}

static enum err read_body(struct client_message *m, struct json_object *root, struct span text,
			  struct client_fault *fault)
{
	static const char *const also[] = {"correlation_id", NULL};

	read_correlation_id(m, root, text, &fault->problem);
	read_members(m, root, text, also, &fault->problem);
	return fault->problem.errors_count > 0 ? refuse_members(fault) : OK;
}

static enum err read_text(struct client_message *m, struct span text, struct client_fault *fault,
			  enum err (*read_root)(struct client_message *m, struct json_object *root, struct span text,
						struct client_fault *fault))
{
	struct json_object *root = NULL;
	enum err e = json_read(&root, text.bytes, text.len, &fault->problem.detail);

	if (e == ERR_INPUT) {
		fault->problem.status = 400;
		return refuse_form(fault);
	}
	if (e != OK)
		return e;
	if (json_object_is_type(root, json_type_object)) {
		e = read_root(m, root, text, fault);
	} else {
		problem_add_field(&fault->problem, "", "body", "must be an object");
		e = refuse_form(fault);
	}
	json_object_put(root);
	return buf_ok(&m->data) && buf_ok(&m->correlation_id) && buf_ok(&m->token) && buf_ok(&fault->problem.errors)
		       ? e
		       : ERR_MEMORY;
}

enum err client_message_read(struct client_message *m, struct span text, struct client_fault *fault)
{
	static const char ping[] = "ping";

	if (text.len == strlen(ping) && memcmp(text.bytes, ping, text.len) == 0) {
		m->type = CLIENT_PING;
		return OK;
	}
	return read_text(m, text, fault, read_message);
}

enum err client_message_read_body(struct client_message *m, enum client_type type, struct span text,
				  struct client_fault *fault)
{
	m->type = type;
	return read_text(m, text, fault, read_body);
}

void client_message_free(struct client_message *m)
{
	buf_free(&m->data);
	buf_free(&m->correlation_id);
	buf_free(&m->token);
}

/*
 *	root	out: taken, json_object_put() it, whatever the outcome
 */
static enum err read_reply(struct span reply, struct json_object **root, struct field *data)
{
	const char *problem = NULL;
	enum err e = json_read(root, reply.bytes, reply.len, &problem);

	if (e != OK)
		return e;
	if (!json_object_is_type(*root, json_type_object) || !find_member(*root, reply, "data", data) ||
	    !json_object_is_type(data->value, json_type_object))
		return ERR_INPUT;
	return OK;
}

enum err client_message_write_broadcast(struct buf *out, struct span reply, const char *topic, int64_t seq,
					int64_t clients)
{
	struct json_object *root = NULL;
	struct field data = {0};
	enum err e = read_reply(reply, &root, &data);
	struct span rest = data.text;
	struct span value = {0};

	if (e == OK) {
		buf_add_text(out, "{\"status\":\"broadcasted\",\"topic\":");
		if (topic[0])
			json_add_string(out, topic, strlen(topic));
		else
			buf_add_text(out, "null");
		buf_add_text(out, ",\"seq\":");
		if (seq > 0)
			buf_printf(out, "%" PRId64, seq);
		else
			buf_add_text(out, "null");
		buf_printf(out, ",\"clients_notified\":%" PRId64, clients);
		json_object_object_foreach(data.value, key, member)
		{
			(void)member;
			if (!json_next(&rest, &value))
				break;
			if (strcmp(key, "seq") == 0 || strcmp(key, "status") == 0)
				continue;
			buf_add_text(out, ",");
			json_add_string(out, key, strlen(key));
			buf_add_text(out, ":");
			json_add_compact(out, value);
		}
		buf_add_text(out, "}");
	}
	json_object_put(root);
	return e;
}

enum err client_message_write_data(struct buf *out, struct span reply)
{
	struct json_object *root = NULL;
	struct field data = {0};
	enum err e = read_reply(reply, &root, &data);

	if (e == OK)
		json_add_compact(out, data.text);
	json_object_put(root);
	return e;
}
