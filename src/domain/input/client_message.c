#include "domain/input/client_message.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "domain/input/fields.h"
#include "domain/text/decimal.h"
#include "domain/text/json.h"

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
	static const struct field_rule rule[] = {{"correlation_id", FIELD_TEXT_128, false}};
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

/* What of the topic it subscribes to, and from where on. */
static void keep_choice(struct client_message *m, const struct field *fields)
{
	copy_text(m->cursor, sizeof(m->cursor), &fields[SUBSCRIBE_CURSOR]);
	if (field_given(&fields[SUBSCRIBE_TYPES]) && field_types(&fields[SUBSCRIBE_TYPES], &m->types) != OK)
		m->data.failed = true;
	if (field_given(&fields[SUBSCRIBE_REWIND]))
		m->rewind = field_integer(&fields[SUBSCRIBE_REWIND]);
	m->presence = field_given(&fields[SUBSCRIBE_PRESENCE]) && field_is_true(&fields[SUBSCRIBE_PRESENCE]);
}

/* For the connection itself. */
static void keep_members(struct client_message *m, const struct field *fields)
{
	struct uuid u;

	if (m->type == CLIENT_ACK) {
		copy_text(m->topic, sizeof(m->topic), &fields[ACK_TOPIC]);
		if (field_given(&fields[ACK_SEQ]))
			m->seq = field_integer(&fields[ACK_SEQ]);
		if (field_given(&fields[ACK_ID]) &&
		    uuid_parse(&u, field_text(&fields[ACK_ID]), strlen(field_text(&fields[ACK_ID]))))
			uuid_text(m->id, &u);
	} else if (m->type == CLIENT_AUTHENTICATE || m->type == CLIENT_REFRESH_TOKEN) {
		buf_add_text(&m->token, field_text(&fields[AUTHENTICATE_TOKEN]));
		if (m->type == CLIENT_AUTHENTICATE)
			copy_text(m->device, sizeof(m->device), &fields[AUTHENTICATE_DEVICE]);
	} else if (m->type == CLIENT_SUBSCRIBE || m->type == CLIENT_UNSUBSCRIBE) {
		copy_text(m->subscription, sizeof(m->subscription), &fields[SUBSCRIBE_NAME]);
		if (m->type == CLIENT_SUBSCRIBE)
			keep_choice(m, fields);
	}
}

/*
 *	about	the rule of m->about; NULL: there is none
 */
static void write_data(struct client_message *m, const struct field_rule *about, const struct field_rule *rules,
		       size_t count, const struct field *fields)
{
	struct buf *out = &m->data;
	bool first = !about;

	buf_add_text(out, "{");
	if (about)
		buf_printf(out, "\"%s\":%" PRId64, about->name, m->about);
	for (size_t i = 0; i < count; i++) {
		if (!field_given(&fields[i]))
			continue;
		buf_printf(out, "%s\"%s\":", first ? "" : ",", rules[i].name);
		field_add_json(out, &rules[i], &fields[i]);
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
	struct field fields[CLIENT_FIELDS_MAX] = {0};
	size_t count = 0;
	const struct field_rule *rules = client_type_rules(m->type, &count);
	const struct field_rule *about = m->about > 0 ? rules : NULL;

	if (about) {
		rules++;
		count--;
	}
	if (count > 0 && fields_read(rules, count, object, text, "", fields, problem))
		check_members(m->type, fields, problem);
	if (client_type_is_exact(m->type))
		fields_refuse_others(rules, count, also, object, "", problem);
	if (problem->errors_count > 0)
		return;
	keep_members(m, fields);
	if (client_type_is_act(m->type))
		write_data(m, about, rules, count, fields);
}

/* Where the members are: in `data`, or beside it. */
static void read_data(struct client_message *m, struct json_object *root, struct span text, struct problem *problem)
{
	static const char *const envelope[] = {"type", "data", "timestamp", "correlation_id", NULL};
	struct field data;

	if (!fields_find(root, text, "data", &data) || !data.value) {
		read_members(m, root, text, envelope, problem);
	} else if (!json_object_is_type(data.value, json_type_object)) {
		problem_add_field(problem, "", "data", "must be an object");
	} else if (json_object_object_length(data.value) == 0) {
		read_members(m, root, text, envelope, problem);
	} else {
		if (client_type_is_exact(m->type))
			fields_refuse_others(NULL, 0, envelope, root, "", problem);
		read_members(m, data.value, data.text, envelope + ARRAY_LEN(envelope) - 1, problem);
	}
}

static enum err read_message(struct client_message *m, struct json_object *root, struct span text,
			     struct client_fault *fault)
{
	struct field type;

	read_correlation_id(m, root, text, &fault->problem);
	if (!fields_find(root, text, "type", &type) || !json_object_is_type(type.value, json_type_string)) {
		problem_add_field(&fault->problem, "", "type", type.value ? "must be text" : "is required");
		return refuse_members(fault);
	}
	if (!client_type_find(field_text(&type), &m->type)) {
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

enum err client_message_read_about(struct client_message *m, enum client_type type, int64_t id, struct span text,
				   struct client_fault *fault)
{
	m->about = id;
	return client_message_read_body(m, type, text, fault);
}

void client_message_free(struct client_message *m)
{
	buf_free(&m->data);
	buf_free(&m->correlation_id);
	buf_free(&m->token);
	message_types_unref(&m->types);
}
