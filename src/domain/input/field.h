/*
 * field - one member of a JSON object: what a member of its kind may hold, and its value once that is right.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "domain/caller/user_id.h"
#include "domain/topic/message_type.h"

enum field_kind {
	FIELD_ANY, /* any value, null too */
	FIELD_BOOL,
	FIELD_BOUND,		 /* FIELD_NUMBER, or null, which is a value */
	FIELD_COUNT,		 /* integer, 0 to 2^63 - 1 */
	FIELD_DEVICE,		 /* name of a device (domain/topic/selection.h) */
	FIELD_ID,		 /* integer, 1 to 2^63 - 1 */
	FIELD_LIMIT_100,	 /* integer, 1 to 100 */
	FIELD_LIMIT_500,	 /* integer, 1 to 500 */
	FIELD_NOTIFICATION_TYPE, /* health_alert, medication_reminder, appointment_reminder, system */
	FIELD_NUMBER,		 /* from -1e15 to 1e15 */
	FIELD_OBJECT,
	FIELD_PRIORITY,	   /* low, normal, high, critical */
	FIELD_QUIET_HOURS, /* {"start":"22:00","end":"07:00","time_zone":"Europe/Berlin"}, or null, which is a value */
	FIELD_RATING,	   /* integer, 1 to 5 */
	FIELD_RATIO,	   /* number, 0 to 1 */
	FIELD_SWITCHES,	   /* object: true or false by type of notification */
	FIELD_TEXT_0_4000, /* text, at most 4,000 characters */
	FIELD_TEXT_128,	   /* text, 1 to 128 characters */
	FIELD_TEXT_4000,   /* text, 1 to 4,000 characters */
	FIELD_TIME,	   /* RFC 3339, of the years 1 to 9999 */
	FIELD_TOKEN,	   /* text, 1 to 8,192 bytes */
	FIELD_TOPIC,	   /* name of a topic, and none that misleads (domain/topic/topic.h) */
	FIELD_TYPE,	   /* FIELD_TEXT_128, and none of the protocol's own types (domain/topic/message_type.h) */
	FIELD_TYPES,	   /* list of 1 to 20 different types of messages (domain/topic/message_type.h) */
	FIELD_USER,	   /* user id, text or an integer of 64 bits */
	FIELD_USERS,	   /* list of 1 to 50 user ids */
	FIELD_UUID,
};

struct field_rule {
	const char *name;
	enum field_kind kind;
	bool required;
};

/* Not given: text.len is 0. */
struct field {
	struct json_object *value; /* borrowed from the tree */
	struct span text;	   /* borrowed from the text: the value as it was written */
};

/* What it must be: "must be true or false"; NULL: it is right. Lent: static. */
const char *field_problem(enum field_kind kind, const struct field *f);

/* Whether null is a value of this kind, not a member that is not given. */
bool field_may_be_null(enum field_kind kind);

static inline bool field_given(const struct field *f)
{
	return f->text.len > 0;
}

#define FIELD_DECIMAL_SIZE 40

/* Of a FIELD_BOOL that is right. */
static inline bool field_is_true(const struct field *f)
{
	return f->text.len == sizeof("true") - 1;
}

/* Of a field that fields_read() found right. Texts are lent by the tree. */
const char *field_text(const struct field *f);
int64_t field_integer(const struct field *f);
int64_t field_time_us(const struct field *f);

/*
 * Of a FIELD_TYPES.
 *
 *	types	out: NULL, or taken: let go by message_types_unref(), on an error too
 *
 * ERR_INPUT, ERR_MEMORY
 */
enum err field_types(const struct field *f, struct message_types **types) MUST_CHECK;

/* Of a FIELD_USER: text, whatever it was. */
void field_user(const struct field *f, char out[USER_ID_MAX + 1]);

/*
 * A number as the database takes it: as it was written where that is short, else as precise as a double is, because
 * numeric would take `1e-100000` by the digit.
 */
void field_decimal(const struct field *f, char out[FIELD_DECIMAL_SIZE]);

/*
 * Appends the value in the one form in which it goes on: user ids as text, times in UTC, UUIDs in lower case, numbers
 * as field_decimal() has them; all else as it was written, without space.
 */
void field_add_json(struct buf *out, const struct field_rule *rule, const struct field *f);
