/* More than 400 lines: one kind of value after the other. */
#include "domain/input/field.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "domain/text/decimal.h"
#include "domain/text/json.h"
#include "domain/text/rfc3339.h"
#include "domain/text/utf8.h"
#include "domain/text/uuid.h"
#include "domain/topic/message_type.h"
#include "domain/topic/selection.h"
#include "domain/topic/topic.h"

#define NUMBER_MAX "1e15"
#define TIME_MIN_US (INT64_C(-62135596800) * 1000000) /* 0001-01-01 */
#define TIME_MAX_US (INT64_C(253402300800) * 1000000) /* 10000-01-01 */
#define USERS_MAX 50
#define TOKEN_MAX_BYTES 8192
#define TIME_ZONE_MAX_BYTES 64

/* Types of notifications. */
static const char *const notices[] = {"appointment_reminder", "health_alert", "medication_reminder", "system"};

static bool is_text(const struct field *f)
{
	return json_object_is_type(f->value, json_type_string);
}

static size_t text_len(const struct field *f)
{
	return (size_t)json_object_get_string_len(f->value);
}

/* An integer as it was written, -0 and 1.0 excluded, within the bounds, which are not negative. */
static bool is_integer(const struct field *f, int64_t min, int64_t max)
{
	int64_t value = 0;

	if (!json_object_is_type(f->value, json_type_int) ||
	    (!topic_parse_id(f->text.bytes, f->text.len, &value) && !(f->text.len == 1 && f->text.bytes[0] == '0')))
		return false;
	return value >= min && value <= max;
}

static bool is_number(const struct field *f, const char *min, const char *max)
{
	return (json_object_is_type(f->value, json_type_double) || json_object_is_type(f->value, json_type_int)) &&
	       decimal_compare(f->text, (struct span){min, strlen(min)}) >= 0 &&
	       decimal_compare(f->text, (struct span){max, strlen(max)}) <= 0;
}

static bool is_one_of(const char *const *words, size_t count, const char *text)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(words[i], text) == 0)
			return true;
	return false;
}

static bool is_notice(const struct field *f)
{
	return is_text(f) && is_one_of(notices, ARRAY_LEN(notices), field_text(f));
}

static bool is_priority(const struct field *f)
{
	static const char *const words[] = {"low", "normal", "high", "critical"};

	return is_text(f) && is_one_of(words, ARRAY_LEN(words), field_text(f));
}

static bool is_switches(const struct field *f)
{
	if (!json_object_is_type(f->value, json_type_object))
		return false;
	json_object_object_foreach(f->value, key, member)
	{
		if (!is_one_of(notices, ARRAY_LEN(notices), key) || !json_object_is_type(member, json_type_boolean))
			return false;
	}
	return true;
}

/* 22:00 */
static bool is_clock(struct json_object *value)
{
	const char *t = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";

	return strlen(t) == 5 && t[2] == ':' && isdigit((unsigned char)t[0]) && isdigit((unsigned char)t[1]) &&
	       isdigit((unsigned char)t[3]) && isdigit((unsigned char)t[4]) &&
	       (t[0] < '2' || (t[0] == '2' && t[1] < '4')) && t[3] < '6';
}

/* The form of one: the database knows which there are. */
static bool is_time_zone(struct json_object *value)
{
	const char *t = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
	size_t len = strlen(t);

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)t[i]) && !strchr("_/+-", t[i]))
			return false;
	return len >= 1 && len <= TIME_ZONE_MAX_BYTES;
}

static bool is_quiet_hours(const struct field *f)
{
	struct json_object *start = NULL;
	struct json_object *end = NULL;
	struct json_object *zone = NULL;

	if (!f->value)
		return true;
	return json_object_is_type(f->value, json_type_object) && json_object_object_length(f->value) == 3 &&
	       json_object_object_get_ex(f->value, "start", &start) && is_clock(start) &&
	       json_object_object_get_ex(f->value, "end", &end) && is_clock(end) &&
	       json_object_object_get_ex(f->value, "time_zone", &zone) && is_time_zone(zone) &&
	       !json_object_equal(start, end);
}

static bool is_user(const struct field *f)
{
	if (json_object_is_type(f->value, json_type_int))
		return decimal_compare(f->text, (struct span){"-9223372036854775808", 20}) >= 0 &&
		       decimal_compare(f->text, (struct span){"9223372036854775807", 19}) <= 0;
	return is_text(f) && user_id_valid(field_text(f), text_len(f));
}

static bool is_users(const struct field *f)
{
	struct span rest = f->text;
	struct field item = {0};

	if (!json_object_is_type(f->value, json_type_array) || json_object_array_length(f->value) < 1 ||
	    json_object_array_length(f->value) > USERS_MAX)
		return false;
	for (size_t i = 0; json_next(&rest, &item.text); i++) {
		item.value = json_object_array_get_idx(f->value, i);
		if (!is_user(&item))
			return false;
	}
	return true;
}

static bool is_types(const struct field *f)
{
	struct message_types *types;
	enum err e = field_types(f, &types);

	message_types_unref(&types);
	return e != ERR_INPUT;
}

static bool is_time(const struct field *f)
{
	int64_t wall_us = 0;

	return is_text(f) && rfc3339_parse(field_text(f), text_len(f), &wall_us) && wall_us >= TIME_MIN_US &&
	       wall_us < TIME_MAX_US;
}

static bool is_text_of(const struct field *f, size_t chars_min, size_t chars_max)
{
	size_t chars = 0;

	if (!is_text(f))
		return false;
	chars = utf8_length(field_text(f), text_len(f));
	return chars >= chars_min && chars <= chars_max;
}

static bool is_uuid(const struct field *f)
{
	struct uuid u;

	return is_text(f) && uuid_parse(&u, field_text(f), text_len(f));
}

static const char *topic_problem(const struct field *f)
{
	if (!is_text(f) || !topic_name_valid(field_text(f), text_len(f)))
		return "must be 1 to 128 characters out of A-Z a-z 0-9 _ . : / -";
	if (topic_name_misleads(field_text(f)))
		return "must be, where it begins so, diagnosis/<id>, health/<user>, chat/<uuid>, chats/<user> or "
		       "notifications/<user>";
	return NULL;
}

static const char *type_problem(const struct field *f)
{
	if (!is_text_of(f, 1, 128))
		return "must be text of 1 to 128 characters";
	if (message_type_is_own(field_text(f)))
		return "must not be a type that the server says itself: see /docs";
	return NULL;
}

const char *field_problem(enum field_kind kind, const struct field *f)
{
	switch (kind) {
	case FIELD_ANY:
		return NULL;
	case FIELD_BOOL:
		return json_object_is_type(f->value, json_type_boolean) ? NULL : "must be true or false";
	case FIELD_BOUND:
		return !f->value || is_number(f, "-" NUMBER_MAX, NUMBER_MAX)
			       ? NULL
			       : "must be a number from -1e15 to 1e15, or null";
	case FIELD_COUNT:
		return is_integer(f, 0, INT64_MAX) ? NULL : "must be an integer from 0 to 9223372036854775807";
	case FIELD_DEVICE:
		return is_text(f) && device_name_valid(field_text(f), text_len(f)) ? NULL : DEVICE_SENTENCE;
	case FIELD_ID:
		return is_integer(f, 1, INT64_MAX) ? NULL : "must be an integer from 1 to 9223372036854775807";
	case FIELD_TEXT_128:
		return is_text_of(f, 1, 128) ? NULL : "must be text of 1 to 128 characters";
	case FIELD_NOTIFICATION_TYPE:
		return is_notice(f) ? NULL
				    : "must be health_alert, medication_reminder, appointment_reminder or system";
	case FIELD_NUMBER:
		return is_number(f, "-" NUMBER_MAX, NUMBER_MAX) ? NULL : "must be a number from -1e15 to 1e15";
	case FIELD_OBJECT:
		return json_object_is_type(f->value, json_type_object) ? NULL : "must be an object";
	case FIELD_PRIORITY:
		return is_priority(f) ? NULL : "must be low, normal, high or critical";
	case FIELD_QUIET_HOURS:
		return is_quiet_hours(f)
			       ? NULL
			       : "must be null, or two times, start and end, such as 22:00, and time_zone, such as "
				 "Europe/Berlin";
	case FIELD_RATING:
		return is_integer(f, 1, 5) ? NULL : "must be an integer from 1 to 5";
	case FIELD_RATIO:
		return is_number(f, "0", "1") ? NULL : "must be a number from 0 to 1";
	case FIELD_SWITCHES:
		return is_switches(f) ? NULL : "must have true or false by type of notification";
	case FIELD_TEXT_0_4000:
		return is_text_of(f, 0, 4000) ? NULL : "must be text of at most 4,000 characters";
	case FIELD_TIME:
		return is_time(f) ? NULL : "must be a date and time with its offset, such as 2026-11-21T10:00:00Z";
	case FIELD_TOKEN:
		return is_text(f) && text_len(f) >= 1 && text_len(f) <= TOKEN_MAX_BYTES
			       ? NULL
			       : "must be text of 1 to 8,192 bytes";
	case FIELD_TOPIC:
		return topic_problem(f);
	case FIELD_TYPE:
		return type_problem(f);
	case FIELD_TYPES:
		return is_types(f) ? NULL : MESSAGE_TYPES_SENTENCE;
	case FIELD_LIMIT_100:
		return is_integer(f, 1, 100) ? NULL : "must be an integer from 1 to 100";
	case FIELD_LIMIT_500:
		return is_integer(f, 1, 500) ? NULL : "must be an integer from 1 to 500";
	case FIELD_USER:
		return is_user(f) ? NULL : "must be a user id: text of 1 to 128 bytes, or an integer";
	case FIELD_USERS:
		return is_users(f) ? NULL : "must be a list of 1 to 50 user ids";
	case FIELD_UUID:
		return is_uuid(f) ? NULL : "must be a UUID";
	case FIELD_TEXT_4000:
		return is_text_of(f, 1, 4000) ? NULL : "must be text of 1 to 4,000 characters";
	}
	return "is unknown";
}

bool field_may_be_null(enum field_kind kind)
{
	return kind == FIELD_ANY || kind == FIELD_BOUND || kind == FIELD_QUIET_HOURS;
}

const char *field_text(const struct field *f)
{
	return json_object_get_string(f->value);
}

int64_t field_integer(const struct field *f)
{
	return json_object_get_int64(f->value);
}

int64_t field_time_us(const struct field *f)
{
	int64_t wall_us = 0;

	(void)rfc3339_parse(field_text(f), text_len(f), &wall_us);
	return wall_us;
}

void field_decimal(const struct field *f, char out[FIELD_DECIMAL_SIZE])
{
	if (f->text.len < 25 && !memchr(f->text.bytes, 'e', f->text.len) && !memchr(f->text.bytes, 'E', f->text.len))
		snprintf(out, FIELD_DECIMAL_SIZE, "%.*s", (int)f->text.len, f->text.bytes);
	else
		snprintf(out, FIELD_DECIMAL_SIZE, "%.15g", json_object_get_double(f->value));
}

enum err field_types(const struct field *f, struct message_types **types)
{
	size_t count = json_object_is_type(f->value, json_type_array) ? json_object_array_length(f->value) : 0;
	enum err e = count > 0 ? OK : ERR_INPUT;

	*types = NULL;
	for (size_t i = 0; e == OK && i < count; i++) {
		struct json_object *item = json_object_array_get_idx(f->value, i);

		e = json_object_is_type(item, json_type_string)
			    ? message_types_add(types, (struct span){json_object_get_string(item),
								     (size_t)json_object_get_string_len(item)})
			    : ERR_INPUT;
	}
	return e;
}

static struct span user_text(struct json_object *value, char room[JSON_INTEGER_SIZE])
{
	if (json_object_is_type(value, json_type_int))
		return json_number_text(value, room);
	return (struct span){json_object_get_string(value), (size_t)json_object_get_string_len(value)};
}

void field_user(const struct field *f, char out[USER_ID_MAX + 1])
{
	char room[JSON_INTEGER_SIZE];
	struct span text = user_text(f->value, room);

	snprintf(out, USER_ID_MAX + 1, "%.*s", (int)text.len, text.bytes);
}

static void add_user(struct buf *out, struct json_object *value)
{
	char room[JSON_INTEGER_SIZE];
	struct span text = user_text(value, room);

	json_add_string(out, text.bytes, text.len);
}

static void add_users(struct buf *out, const struct field *f)
{
	for (size_t i = 0; i < json_object_array_length(f->value); i++) {
		buf_add_text(out, i == 0 ? "[" : ",");
		add_user(out, json_object_array_get_idx(f->value, i));
	}
	buf_add_text(out, "]");
}

void field_add_json(struct buf *out, const struct field_rule *rule, const struct field *f)
{
	char decimal[FIELD_DECIMAL_SIZE];
	char time[CLOCK_TEXT_SIZE];
	char uuid_hex[UUID_TEXT_SIZE];
	struct uuid u;

	switch (rule->kind) {
	case FIELD_BOUND:
	case FIELD_NUMBER:
	case FIELD_RATIO:
		if (!f->value) {
			buf_add_text(out, "null");
			break;
		}
		field_decimal(f, decimal);
		buf_add_text(out, decimal);
		break;
	case FIELD_TIME:
		buf_printf(out, "\"%s\"", clock_text(time, field_time_us(f)));
		break;
	case FIELD_USER:
		add_user(out, f->value);
		break;
	case FIELD_USERS:
		add_users(out, f);
		break;
	case FIELD_UUID:
		if (uuid_parse(&u, field_text(f), text_len(f)))
			buf_printf(out, "\"%s\"", uuid_text(uuid_hex, &u));
		break;
	case FIELD_ANY:
	case FIELD_BOOL:
	case FIELD_COUNT:
	case FIELD_DEVICE:
	case FIELD_ID:
	case FIELD_TEXT_128:
	case FIELD_NOTIFICATION_TYPE:
	case FIELD_OBJECT:
	case FIELD_PRIORITY:
	case FIELD_QUIET_HOURS:
	case FIELD_RATING:
	case FIELD_SWITCHES:
	case FIELD_TEXT_0_4000:
	case FIELD_TOKEN:
	case FIELD_TOPIC:
	case FIELD_TYPE:
	case FIELD_TYPES:
	case FIELD_LIMIT_100:
	case FIELD_LIMIT_500:
	case FIELD_TEXT_4000:
		json_add_compact(out, f->text);
		break;
	}
}
