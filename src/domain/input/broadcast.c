#include "domain/input/broadcast.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/input/fields.h"
#include "domain/text/json.h"

#define YEAR_US (INT64_C(366) * 24 * 3600 * 1000000)
#define PREFIX_SIZE 16

/* What every publish takes; the first fields of each table. */
enum { EXCLUDE, TO_USER, COMMON_COUNT };
#define COMMON_RULES \
	[EXCLUDE] = {"exclude_connection_id", FIELD_UUID, false}, [TO_USER] = {"to_user_id", FIELD_USER, false}

enum { DIAGNOSIS = COMMON_COUNT, DIAGNOSIS_COUNT };
#define DIAGNOSIS_RULES COMMON_RULES, [DIAGNOSIS] = {"diagnosis_id", FIELD_ID, true}

#define FIELDS_MAX PUBLISH_COUNT

static void add_given(struct buf *out, const char *key, const struct field *f)
{
	if (!field_given(f))
		return;
	if (out->len > 0 && out->bytes[out->len - 1] != '{')
		buf_add(out, ",", 1);
	buf_printf(out, "\"%s\":", key);
	json_add_compact(out, f->text);
}

static void add_timestamp(struct buf *out, int64_t now_us)
{
	char text[CLOCK_TEXT_SIZE];

	buf_printf(out, ",\"timestamp\":\"%s\"", clock_text(text, now_us));
}

static void set_common(struct publication *p, const struct field *fields)
{
	const char *exclude = field_given(&fields[EXCLUDE]) ? field_text(&fields[EXCLUDE]) : "";
	struct uuid u;

	if (uuid_parse(&u, exclude, strlen(exclude)))
		uuid_text(p->exclude, &u);
	if (field_given(&fields[TO_USER]))
		field_user(&fields[TO_USER], p->to_user);
}

/* Up to the brace that opens `data`. */
static void begin_diagnosis(struct publication *p, const char *type, const struct field *fields, int64_t now_us)
{
	set_common(p, fields);
	topic_of_diagnosis(p->topic, field_integer(&fields[DIAGNOSIS]));
	buf_printf(&p->body, "{\"type\":\"%s\",\"topic\":\"%s\",\"diagnosis_id\":%" PRId64, type, p->topic,
		   field_integer(&fields[DIAGNOSIS]));
	add_timestamp(&p->body, now_us);
	buf_add_text(&p->body, ",\"data\":{");
}

/* ---- recommendation */

enum { OLD_DATA = DIAGNOSIS_COUNT, NEW_DATA, REASON, RECOMMENDATION_COUNT };

static const struct field_rule recommendation_rules[] = {
	DIAGNOSIS_RULES,
	[OLD_DATA] = {"old_data", FIELD_OBJECT, true},
	[NEW_DATA] = {"new_data", FIELD_OBJECT, true},
	[REASON] = {"reason", FIELD_TEXT_0_4000, true},
};

static void add_key(struct buf *out, const char *key, bool *first)
{
	if (!*first)
		buf_add(out, ",", 1);
	*first = false;
	json_add_string(out, key, strlen(key));
}

/* Keys whose values differ or exist on one side only: in the new object's order, then those removed. */
static void add_changed_fields(struct buf *out, struct json_object *old, struct json_object *new)
{
	struct json_object *other = NULL;
	bool first = true;

	buf_add_text(out, ",\"changed_fields\":[");
	json_object_object_foreach(new, key, member)
	{
		if (!json_object_object_get_ex(old, key, &other) || !json_equal(other, member))
			add_key(out, key, &first);
	}
	json_object_object_foreach(old, old_key, old_member)
	{
		(void)old_member;
		if (!json_object_object_get_ex(new, old_key, NULL))
			add_key(out, old_key, &first);
	}
	buf_add_text(out, "]");
}

static void make_recommendation(struct publication *p, const struct field *fields, int64_t now_us)
{
	begin_diagnosis(p, "recommendation_update", fields, now_us);
	add_given(&p->body, "old_recommendation", &fields[OLD_DATA]);
	add_given(&p->body, "new_recommendation", &fields[NEW_DATA]);
	add_given(&p->body, "reason", &fields[REASON]);
	add_changed_fields(&p->body, fields[OLD_DATA].value, fields[NEW_DATA].value);
	add_timestamp(&p->body, now_us);
	buf_add_text(&p->body, "}}");
}

/* ---- effectiveness */

enum {
	RECOMMENDATION_ID = DIAGNOSIS_COUNT,
	HERB,
	NEW_EFFECT,
	OLD_EFFECT,
	CONFIDENCE,
	SAMPLE_SIZE,
	EFFECTIVENESS_COUNT
};

static const struct field_rule effectiveness_rules[] = {
	DIAGNOSIS_RULES,
	[RECOMMENDATION_ID] = {"recommendation_id", FIELD_ID, true},
	[HERB] = {"herb", FIELD_TEXT_0_4000, false},
	[NEW_EFFECT] = {"new_effectiveness", FIELD_RATIO, true},
	[OLD_EFFECT] = {"old_effectiveness", FIELD_RATIO, false},
	[CONFIDENCE] = {"confidence", FIELD_RATIO, true},
	[SAMPLE_SIZE] = {"sample_size", FIELD_COUNT, true},
};

static void make_effectiveness(struct publication *p, const struct field *fields, int64_t now_us)
{
	begin_diagnosis(p, "effectiveness_update", fields, now_us);
	add_given(&p->body, "recommendation_id", &fields[RECOMMENDATION_ID]);
	add_given(&p->body, "herb", &fields[HERB]);
	add_given(&p->body, "new_effectiveness", &fields[NEW_EFFECT]);
	add_given(&p->body, "confidence", &fields[CONFIDENCE]);
	add_given(&p->body, "sample_size", &fields[SAMPLE_SIZE]);
	buf_add_text(&p->body, "}}");
	p->effect_id = field_integer(&fields[RECOMMENDATION_ID]);
	field_decimal(&fields[NEW_EFFECT], p->effect_value);
	if (field_given(&fields[OLD_EFFECT]))
		field_decimal(&fields[OLD_EFFECT], p->effect_old);
}

/* ---- feedback */

enum { FEEDBACK_ID = DIAGNOSIS_COUNT, FEEDBACK_RECOMMENDATION, RATING, EFFECT, COMMENT, FEEDBACK_COUNT };

static const struct field_rule feedback_rules[] = {
	DIAGNOSIS_RULES,
	[FEEDBACK_ID] = {"feedback_id", FIELD_ID, true},
	[FEEDBACK_RECOMMENDATION] = {"recommendation_id", FIELD_ID, false},
	[RATING] = {"rating", FIELD_RATING, true},
	[EFFECT] = {"effectiveness", FIELD_RATIO, true},
	[COMMENT] = {"comment", FIELD_TEXT_0_4000, false},
};

static void make_feedback(struct publication *p, const struct field *fields, int64_t now_us)
{
	begin_diagnosis(p, "feedback_update", fields, now_us);
	add_given(&p->body, "feedback_id", &fields[FEEDBACK_ID]);
	add_given(&p->body, "recommendation_id", &fields[FEEDBACK_RECOMMENDATION]);
	add_given(&p->body, "rating", &fields[RATING]);
	add_given(&p->body, "effectiveness", &fields[EFFECT]);
	add_given(&p->body, "comment", &fields[COMMENT]);
	add_timestamp(&p->body, now_us);
	buf_add_text(&p->body, "}}");
}

/* ---- any topic */

enum { TOPIC = COMMON_COUNT, TYPE, DATA, EPHEMERAL, DELIVER_AT, EXPIRES_AT, PRIORITY, CORRELATION_ID, PUBLISH_COUNT };

static const struct field_rule publish_rules[] = {
	COMMON_RULES,
	[TOPIC] = {"topic", FIELD_TOPIC, true},
	[TYPE] = {"type", FIELD_TYPE, true},
	[DATA] = {"data", FIELD_ANY, true},
	[EPHEMERAL] = {"ephemeral", FIELD_BOOL, false},
	[DELIVER_AT] = {"deliver_at", FIELD_TIME, false},
	[EXPIRES_AT] = {"expires_at", FIELD_TIME, false},
	[PRIORITY] = {"priority", FIELD_PRIORITY, false},
	[CORRELATION_ID] = {"correlation_id", FIELD_TEXT_128, false},
};

static int64_t time_or(const struct field *f, int64_t otherwise_us)
{
	return field_given(f) ? field_time_us(f) : otherwise_us;
}

static void make_publish(struct publication *p, const struct field *fields, int64_t now_us)
{
	int64_t deliver_us = time_or(&fields[DELIVER_AT], now_us);
	int64_t diagnosis_id = 0;

	set_common(p, fields);
	snprintf(p->topic, sizeof(p->topic), "%s", field_text(&fields[TOPIC]));
	p->ephemeral = field_given(&fields[EPHEMERAL]) && json_object_get_boolean(fields[EPHEMERAL].value);
	if (deliver_us > now_us)
		clock_text(p->deliver_at, deliver_us);
	if (field_given(&fields[EXPIRES_AT]))
		clock_text(p->expires_at, time_or(&fields[EXPIRES_AT], now_us));

	buf_add_text(&p->body, "{");
	add_given(&p->body, "type", &fields[TYPE]);
	add_given(&p->body, "topic", &fields[TOPIC]);
	if (topic_diagnosis_id(p->topic, &diagnosis_id))
		buf_printf(&p->body, ",\"diagnosis_id\":%" PRId64, diagnosis_id);
	add_timestamp(&p->body, now_us);
	add_given(&p->body, "priority", &fields[PRIORITY]);
	add_given(&p->body, "correlation_id", &fields[CORRELATION_ID]);
	add_given(&p->body, "data", &fields[DATA]);
	buf_add_text(&p->body, "}");
}

/* What no field alone can tell. */
static void check_publish(const struct publication *p, const struct field *fields, int64_t now_us, const char *prefix,
			  struct problem *problem)
{
	int64_t deliver_us = time_or(&fields[DELIVER_AT], now_us);

	if (p->ephemeral && p->body.len > EPHEMERAL_MAX_BYTES)
		problem_add_field(problem, prefix, "data",
				  "makes the message larger than an ephemeral one may be: 7,500 bytes");
	if (p->ephemeral && field_given(&fields[DELIVER_AT]))
		problem_add_field(problem, prefix, "deliver_at", "must not be given together with ephemeral");
	if (deliver_us > now_us + YEAR_US)
		problem_add_field(problem, prefix, "deliver_at", "must be at most a year ahead");
	if (field_given(&fields[EXPIRES_AT]) && time_or(&fields[EXPIRES_AT], 0) <= MAX(now_us, deliver_us))
		problem_add_field(problem, prefix, "expires_at", "must be later than the delivery");
}

/* ---- all of them */

static const struct broadcast_rules {
	const struct field_rule *rules;
	size_t rules_count;
	void (*make)(struct publication *p, const struct field *fields, int64_t now_us);
} kinds[] = {
	[BROADCAST_RECOMMENDATION] = {recommendation_rules, ARRAY_LEN(recommendation_rules), make_recommendation},
	[BROADCAST_EFFECTIVENESS] = {effectiveness_rules, ARRAY_LEN(effectiveness_rules), make_effectiveness},
	[BROADCAST_FEEDBACK] = {feedback_rules, ARRAY_LEN(feedback_rules), make_feedback},
	[BROADCAST_PUBLISH] = {publish_rules, ARRAY_LEN(publish_rules), make_publish},
};

_Static_assert(ARRAY_LEN(recommendation_rules) <= FIELDS_MAX && ARRAY_LEN(effectiveness_rules) <= FIELDS_MAX &&
		       ARRAY_LEN(feedback_rules) <= FIELDS_MAX && ARRAY_LEN(publish_rules) <= FIELDS_MAX,
	       "a table is larger than read_item() has room for");
_Static_assert(DECIMAL_TEXT_SIZE == FIELD_DECIMAL_SIZE, "a publication holds what field_decimal() makes");

static void read_item(enum broadcast_kind kind, struct json_object *object, struct span text, const char *prefix,
		      int64_t now_us, struct publications *all, struct publication *p, struct problem *problem)
{
	const struct broadcast_rules *k = &kinds[kind];
	struct field fields[FIELDS_MAX];

	if (!json_object_is_type(object, json_type_object)) {
		size_t len = strlen(prefix);
		char name[PREFIX_SIZE];

		snprintf(name, sizeof(name), "%.*s", len > 0 ? (int)len - 1 : 4, len > 0 ? prefix : "body");
		problem_add_field(problem, "", name, "must be an object");
		return;
	}
	if (!fields_read(k->rules, k->rules_count, object, text, prefix, fields, problem))
		return;
	fields_name_others(k->rules, k->rules_count, object, prefix, &all->ignored, &all->ignored_count);
	k->make(p, fields, now_us);
	if (kind == BROADCAST_PUBLISH)
		check_publish(p, fields, now_us, prefix, problem);
}

static enum err read_list(struct json_object *list, struct span text, int64_t now_us, struct publications *p,
			  struct problem *problem)
{
	size_t count = json_object_array_length(list);
	struct span rest = text;
	struct span item = {0};

	if (count == 0 || count > BATCH_ITEMS_MAX) {
		problem_add_field(problem, "", "body", "must be one message, or a list of 1 to 500");
		return OK;
	}
	p->items = calloc(count, sizeof(*p->items));
	if (!p->items)
		return ERR_MEMORY;
	p->count = count;
	for (size_t i = 0; json_next(&rest, &item); i++) {
		char prefix[PREFIX_SIZE];

		assert(i < count);
		snprintf(prefix, sizeof(prefix), "[%u].", (unsigned int)i);
		read_item(BROADCAST_PUBLISH, json_object_array_get_idx(list, i), item, prefix, now_us, p, &p->items[i],
			  problem);
	}
	return OK;
}

static enum err read_root(enum broadcast_kind kind, struct json_object *root, struct span body, int64_t now_us,
			  struct publications *p, struct problem *problem)
{
	if (kind == BROADCAST_PUBLISH && json_object_is_type(root, json_type_array))
		return read_list(root, body, now_us, p, problem);
	p->items = calloc(1, sizeof(*p->items));
	if (!p->items)
		return ERR_MEMORY;
	p->count = 1;
	read_item(kind, root, body, "", now_us, p, &p->items[0], problem);
	return OK;
}

enum err broadcast_read(enum broadcast_kind kind, struct span body, int64_t now_us, struct publications *out,
			struct problem *problem)
{
	struct publications p = PUBLICATIONS_NONE;
	struct json_object *root = NULL;
	enum err e = json_read(&root, body.bytes, body.len, &problem->detail);

	if (e == ERR_INPUT)
		problem->status = 400;
	if (e != OK)
		return e;
	e = read_root(kind, root, body, now_us, &p, problem);
	json_object_put(root);
	if (e == OK && problem->errors_count > 0)
		e = ERR_INPUT;
	if (!buf_ok(&problem->errors) || !buf_ok(&p.ignored))
		e = ERR_MEMORY;
	for (size_t i = 0; e == OK && i < p.count; i++)
		if (!buf_ok(&p.items[i].body))
			e = ERR_MEMORY;
	if (e != OK) {
		publications_free(&p);
		return e;
	}
	*out = p;
	return OK;
}

static void add_seq(struct buf *out, const struct publish_result *result)
{
	if (result->seq > 0)
		buf_printf(out, "\"seq\":%" PRId64, result->seq);
	else
		buf_add_text(out, "\"seq\":null");
}

static void add_ignored(struct buf *out, const struct publications *p)
{
	if (p->ignored_count == 0)
		return;
	buf_add_text(out, ",\"ignored\":[");
	buf_add(out, p->ignored.bytes, p->ignored.len);
	buf_add_text(out, "]");
}

void broadcast_write_reply(struct buf *out, enum broadcast_kind kind, const struct publications *p,
			   const struct publish_result *results)
{
	int64_t diagnosis_id = 0;

	if (kind != BROADCAST_PUBLISH && topic_diagnosis_id(p->items[0].topic, &diagnosis_id)) {
		buf_printf(out,
			   "{\"status\":\"broadcasted\",\"diagnosis_id\":%" PRId64 ",\"clients_notified\":%" PRId64 ",",
			   diagnosis_id, results[0].clients);
		add_seq(out, &results[0]);
		add_ignored(out, p);
		buf_add_text(out, "}");
		return;
	}
	buf_add_text(out, "{\"status\":\"broadcasted\",\"results\":[");
	for (size_t i = 0; i < p->count; i++) {
		buf_printf(out, "%s{\"topic\":", i > 0 ? "," : "");
		json_add_string(out, p->items[i].topic, strlen(p->items[i].topic));
		buf_add_text(out, ",");
		add_seq(out, &results[i]);
		buf_printf(out, ",\"clients_notified\":%" PRId64 "}", results[i].clients);
	}
	buf_add_text(out, "]");
	add_ignored(out, p);
	buf_add_text(out, "}");
}
