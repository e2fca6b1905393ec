#include "store/request/history.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/topic/message.h"
#include "store/blocking/db_internal.h"

static const struct statement history_statement = {
	"history",
	"SELECT outcome, epoch, recovered, missed_from, missed_to, next_seq, seq, body "
	"FROM tidings.history($1::text, $2::text, $3::text, $4::text, $5::int8, $6::int8, $7::boolean, $8::int8, "
	"$9::text)",
};

enum { OUTCOME, EPOCH, RECOVERED, MISSED_FROM, MISSED_TO, NEXT_SEQ, SEQ, BODY };

/* 0 for NULL. */
static int64_t integer(const PGresult *r, int row, int column)
{
	return strtoll(PQgetvalue(r, row, column), NULL, 10);
}

static enum err read_header(const PGresult *r, struct history *h)
{
	const char *outcome = PQntuples(r) > 0 ? PQgetvalue(r, 0, OUTCOME) : "";

	if (strcmp(outcome, "forbidden") == 0)
		return ERR_FORBIDDEN;
	if (strcmp(outcome, "not_found") == 0)
		return ERR_NOT_FOUND;
	if (strcmp(outcome, "ok") != 0 || PQgetlength(r, 0, EPOCH) > EPOCH_MAX)
		return ERR_DATABASE;
	snprintf(h->next.epoch, sizeof(h->next.epoch), "%s", PQgetvalue(r, 0, EPOCH));
	h->next.seq = (uint64_t)integer(r, 0, NEXT_SEQ);
	h->recovered = PQgetvalue(r, 0, RECOVERED)[0] == 't';
	h->missed_from = integer(r, 0, MISSED_FROM);
	h->missed_to = integer(r, 0, MISSED_TO);
	return OK;
}

enum err history_read(struct db *db, const struct history_reader *reader, const struct history_part *part,
		      struct history *h)
{
	const struct cursor *since = part->has_since ? &part->since : NULL;
	char limit_text[24];
	char after_text[24];
	char before_text[24];
	const char *values[] = {
		reader->user_id,
		role_text(reader->role),
		part->topic,
		since ? since->epoch : NULL,
		since ? after_text : NULL,
		limit_text,
		reader->require_user ? "true" : "false",
		part->before > 0 ? before_text : NULL,
		message_types_json(part->types),
	};
	PGresult *result = NULL;
	enum err e = db_ensure(db);

	if (e != OK)
		return e;
	snprintf(limit_text, sizeof(limit_text), "%" PRId64, part->limit);
	snprintf(before_text, sizeof(before_text), "%" PRId64, part->before);
	snprintf(after_text, sizeof(after_text), "%" PRIu64, since ? since->seq : 0);
	e = db_query(db, &history_statement, ARRAY_LEN(values), values, NULL, NULL, &result);
	if (e != OK)
		return e;
	e = read_header(result, h);
	for (int row = 0; e == OK && row < PQntuples(result); row++) {
		if (PQgetisnull(result, row, SEQ))
			continue;
		if (h->messages.len > 0)
			buf_add(&h->messages, ",", 1);
		message_add(&h->messages, (uint64_t)integer(result, row, SEQ), h->next.epoch,
			    (struct span){PQgetvalue(result, row, BODY), (size_t)PQgetlength(result, row, BODY)});
	}
	PQclear(result);
	return e == OK && !buf_ok(&h->messages) ? ERR_MEMORY : e;
}
