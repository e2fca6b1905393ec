#include "store/publish/publish_batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log/log.h"
#include "store/blocking/db_internal.h"
#include "store/wire/pgarray.h"

enum {
	CALLERS,
	ROLES,
	KEYS,
	FINGERPRINTS,
	REQUESTS,
	TOPICS,
	BODIES,
	FLAGS,
	TO_USERS,
	EXCLUDES,
	DELIVER_AT,
	EXPIRES_AT,
	EFFECT_IDS,
	EFFECT_VALUES,
	EFFECT_OLDS,
	ARRAYS_COUNT,
	QUEUE_MAX = ARRAYS_COUNT,
	QUEUE_MIN_AGE,
	QUEUE_TTL,
	REQUIRE_USER,
	DAILY_MAX,
	SKIP_LOCKED,
	UNTIL,
	PARAMETERS_COUNT
};

#define FLAG_EPHEMERAL 1

static const enum pgarray_type types[ARRAYS_COUNT] = {
	[FINGERPRINTS] = PGARRAY_BYTES,
	[REQUESTS] = PGARRAY_INT8,
	[FLAGS] = PGARRAY_INT8,
	[EFFECT_IDS] = PGARRAY_INT8,
};

static const struct statement publish_statement = {
	"publish_batch",
	"SELECT item, outcome, seq, clients, at FROM tidings.publish_batch($1::text[], $2::text[], $3::text[], "
	"(SELECT array_agg(encode(sha256(f), 'hex') ORDER BY n) FROM unnest($4::bytea[]) WITH ORDINALITY AS u(f, n)), "
	"$5::int8[], $6::text[], $7::text[], $8::int8[], $9::text[], $10::text[], $11::text[], $12::text[], "
	"$13::int8[], "
	"$14::text[], $15::text[], $16::int8, $17::int8, $18::int8, $19::boolean, $20::int8, $21::boolean, $22::int8)",
};

struct publish_batch {
	struct pgarray arrays[ARRAYS_COUNT];
	const struct config *config;		      /* borrowed */
	char numbers[SKIP_LOCKED - ARRAYS_COUNT][24]; /* of the configuration, as text: of each batch, anew */
	int64_t answer_ms;			      /* what is not done by then is not done */
	int64_t ahead_ms;			      /* the server's clock, of our monotonic one */
	bool ahead_known;			      /* since the last batch, which went well */
};

enum err publish_batch_new(struct publish_batch **out, const struct config *c)
{
	struct publish_batch *b = calloc(1, sizeof(*b));

	if (!b)
		return ERR_MEMORY;
	b->config = c;
	b->answer_ms = c->database_timeout_ms;
	*out = b;
	return OK;
}

void publish_batch_free(struct publish_batch **b)
{
	if (!*b)
		return;
	for (int i = 0; i < ARRAYS_COUNT; i++)
		pgarray_free(&(*b)->arrays[i]);
	free(*b);
	*b = NULL;
}

static void write_number(struct publish_batch *b, int parameter, int64_t number)
{
	snprintf(b->numbers[parameter - ARRAYS_COUNT], sizeof(b->numbers[0]), "%" PRId64, number);
}

static void write_numbers(struct publish_batch *b)
{
	const struct config *c = b->config;

	write_number(b, QUEUE_MAX, c->queue_max);
	write_number(b, QUEUE_MIN_AGE, c->queue_min_age_s);
	write_number(b, QUEUE_TTL, c->queue_ttl_s);
	write_number(b, DAILY_MAX, c->user_daily_max_kib);
	snprintf(b->numbers[REQUIRE_USER - ARRAYS_COUNT], sizeof(b->numbers[0]), "%s",
		 c->require_user ? "true" : "false");
}

static void add_item(struct pgarray *a, int64_t request, const struct publication *p)
{
	pgarray_add_int8(&a[REQUESTS], request);
	pgarray_add(&a[TOPICS], p->topic, strlen(p->topic));
	pgarray_add(&a[BODIES], p->body.bytes, p->body.len);
	pgarray_add_int8(&a[FLAGS], p->ephemeral ? FLAG_EPHEMERAL : 0);
	pgarray_add_text(&a[TO_USERS], p->to_user);
	pgarray_add_text(&a[EXCLUDES], p->exclude);
	pgarray_add_text(&a[DELIVER_AT], p->deliver_at);
	pgarray_add_text(&a[EXPIRES_AT], p->expires_at);
	if (p->effect_id != 0)
		pgarray_add_int8(&a[EFFECT_IDS], p->effect_id);
	else
		pgarray_add_null(&a[EFFECT_IDS]);
	pgarray_add_text(&a[EFFECT_VALUES], p->effect_value);
	pgarray_add_text(&a[EFFECT_OLDS], p->effect_old);
}

static void add_request(struct pgarray *a, int64_t number, const struct publish_request *r)
{
	pgarray_add_text(&a[CALLERS], r->caller);
	pgarray_add_text(&a[ROLES], role_text(r->role));
	pgarray_add_text(&a[KEYS], r->key);
	if (r->key)
		pgarray_add(&a[FINGERPRINTS], r->fingerprint.bytes, r->fingerprint.len);
	else
		pgarray_add_null(&a[FINGERPRINTS]);
	for (size_t i = 0; i < r->publications->count; i++)
		add_item(a, number, &r->publications->items[i]);
}

static bool parse_outcome(const char *text, enum publish_outcome *outcome)
{
	static const char *const words[] = {
		[PUBLISH_OK] = "ok",
		[PUBLISH_SCHEDULED] = "scheduled",
		[PUBLISH_REPLAYED] = "replayed",
		[PUBLISH_FORBIDDEN] = "forbidden",
		[PUBLISH_NOT_FOUND] = "not_found",
		[PUBLISH_WITHHELD] = "withheld",
		[PUBLISH_KEY_REUSED] = "key_reused",
		[PUBLISH_OVER_QUOTA] = "over_quota",
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(words[i], text) == 0) {
			*outcome = (enum publish_outcome)i;
			return true;
		}
	}
	return false;
}

static enum err read_results(const PGresult *result, struct publish_request *const *requests, size_t count)
{
	int rows = PQntuples(result);
	int row = 0;

	for (size_t r = 0; r < count; r++) {
		requests[r]->busy = false;
		for (size_t i = 0; i < requests[r]->publications->count; i++, row++) {
			struct publish_result *out = &requests[r]->results[i];

			if (row < rows && strcmp(PQgetvalue(result, row, 1), "busy") == 0) {
				requests[r]->busy = true;
				continue;
			}
			if (row >= rows || strtoll(PQgetvalue(result, row, 0), NULL, 10) != row + 1 ||
			    !parse_outcome(PQgetvalue(result, row, 1), &out->outcome)) {
				log_error("publish_batch answered what was not asked row=%d rows=%d", row, rows);
				return ERR_DATABASE;
			}
			out->seq = strtoll(PQgetvalue(result, row, 2), NULL, 10);
			out->clients = strtoll(PQgetvalue(result, row, 3), NULL, 10);
		}
	}
	return OK;
}

enum err publish_batch_run(struct publish_batch *b, struct db *db, struct publish_request *const *requests,
			   size_t count, bool skip_locked)
{
	const char *values[PARAMETERS_COUNT];
	int lengths[PARAMETERS_COUNT] = {0};
	int formats[PARAMETERS_COUNT] = {0};
	char until[24];
	PGresult *result = NULL;
	enum err e = OK;

	for (int i = 0; i < ARRAYS_COUNT; i++)
		pgarray_begin(&b->arrays[i], types[i]);
	for (size_t i = 0; i < count; i++)
		add_request(b->arrays, (int64_t)i + 1, requests[i]);
	for (int i = 0; i < ARRAYS_COUNT; i++) {
		if (!buf_ok(&b->arrays[i].bytes))
			return ERR_MEMORY;
		values[i] = b->arrays[i].bytes.bytes;
		lengths[i] = (int)b->arrays[i].bytes.len;
		formats[i] = 1;
	}
	write_numbers(b);
	for (int i = ARRAYS_COUNT; i < SKIP_LOCKED; i++)
		values[i] = b->numbers[i - ARRAYS_COUNT];
	values[SKIP_LOCKED] = skip_locked ? "t" : "f";
	snprintf(until, sizeof(until), "%" PRId64, clock_monotonic_ms() + b->ahead_ms + b->answer_ms);
	values[UNTIL] = b->ahead_known ? until : NULL;
	b->ahead_known = false;
	e = db_change(db, &publish_statement, PARAMETERS_COUNT, values, lengths, formats, &result);
	if (e != OK)
		return e;
	e = read_results(result, requests, count);
	if (e == OK && PQntuples(result) > 0) {
		b->ahead_ms = strtoll(PQgetvalue(result, 0, 4), NULL, 10) - clock_monotonic_ms();
		b->ahead_known = true;
	}
	PQclear(result);
	return e;
}
