#include "domain/topic/message.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "domain/topic/cursor.h"

void message_add(struct buf *out, uint64_t seq, const char *epoch, struct span body)
{
	char cursor[CURSOR_TEXT_SIZE];

	assert(body.len >= 2 && body.bytes[0] == '{');
	buf_printf(out, "{\"seq\":%" PRIu64, seq);
	if (epoch)
		buf_printf(out, ",\"cursor\":\"%s\"", cursor_text(cursor, epoch, seq));
	if (body.bytes[1] != '}')
		buf_add_text(out, ",");
	buf_add(out, body.bytes + 1, body.len - 1);
}

uint64_t message_seq(struct span text)
{
	static const char front[] = "{\"seq\":";
	uint64_t seq = 0;

	if (text.len <= strlen(front) || memcmp(text.bytes, front, strlen(front)) != 0)
		return 0;
	for (size_t i = strlen(front); i < text.len && text.bytes[i] >= '0' && text.bytes[i] <= '9'; i++)
		seq = seq * 10 + (uint64_t)(text.bytes[i] - '0');
	return seq;
}

bool reader_may_have(const struct reader *r, const char *to_user, const struct uuid *exclude)
{
	if (to_user && (!r->user_id || strcmp(r->user_id, to_user) != 0))
		return false;
	return !exclude || !uuid_equal(exclude, &r->connection_id);
}
