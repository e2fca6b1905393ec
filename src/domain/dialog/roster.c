#include "domain/dialog/roster.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "domain/topic/topic.h"
#include "domain/websocket/frame.h"

struct roster *roster_new(size_t room)
{
	return calloc(1, sizeof(struct roster) + room * sizeof(struct roster_user));
}

bool roster_is_whole(const struct roster *r)
{
	return r->users == (int64_t)r->count;
}

/* Less than 0: the next of `a` comes first, or `b` is at its end. */
static int compare_next(const struct roster *a, size_t i, const struct roster *b, size_t j)
{
	if (j == b->count)
		return i == a->count ? 0 : -1;
	return i == a->count ? 1 : strcmp(a->items[i].id, b->items[j].id);
}

enum err roster_keep(struct roster **r, const struct roster *before)
{
	struct roster *now = *r, *both = roster_new(now->count + before->count);

	if (!both)
		return ERR_MEMORY;
	*both = *now;
	both->count = 0;
	for (size_t i = 0, j = 0; i < now->count || j < before->count;) {
		int order = compare_next(now, i, before, j);

		if (order <= 0) {
			both->items[both->count++] = now->items[i++];
			j += order == 0;
		} else {
			both->items[both->count] = before->items[j++];
			both->items[both->count++].connections = 0;
			both->users++;
		}
	}
	free(now);
	*r = both;
	return OK;
}

/* ---- messages */

static void begin(struct buf *text, const char *type, const char *topic, int64_t wall_us)
{
	char timestamp[CLOCK_TEXT_SIZE];
	int64_t diagnosis_id;

	buf_printf(text, "{\"type\":\"%s\",\"topic\":\"%s\",", type, topic);
	if (topic_diagnosis_id(topic, &diagnosis_id))
		buf_printf(text, "\"diagnosis_id\":%" PRId64 ",", diagnosis_id);
	buf_printf(text, "\"timestamp\":\"%s\",\"data\":{", clock_text(timestamp, wall_us));
}

static void add_frame(struct buf *frames, struct buf *text)
{
	uint8_t header[FRAME_HEADER_MAX];

	buf_add_text(text, "}}");
	buf_add(frames, header, frame_text_header(header, text->len));
	buf_add(frames, text->bytes, text->len);
	if (!buf_ok(text))
		frames->failed = true;
	buf_free(text);
}

static void add_counts(struct buf *text, const struct roster *r)
{
	buf_printf(text, "\"users_total\":%" PRId64 ",\"clients\":%" PRId64 ",\"anonymous\":%" PRId64, r->users,
		   r->clients, r->anonymous);
}

static void add_user(struct buf *frames, const char *type, const char *user_id, const char *topic, int64_t wall_us)
{
	struct buf text = BUF_EMPTY;

	begin(&text, type, topic, wall_us);
	buf_add_text(&text, "\"user_id\":");
	user_id_add_json(&text, user_id);
	add_frame(frames, &text);
}

void roster_add_whole(struct buf *frames, const struct roster *r, const char *topic, int64_t wall_us)
{
	struct buf text = BUF_EMPTY;

	begin(&text, "presence", topic, wall_us);
	buf_add_text(&text, "\"users\":[");
	for (size_t i = 0; i < r->count; i++) {
		buf_add_text(&text, i > 0 ? ",{\"user_id\":" : "{\"user_id\":");
		user_id_add_json(&text, r->items[i].id);
		buf_printf(&text, ",\"connections\":%" PRId64 ",\"since\":\"%s\"}", r->items[i].connections,
			   r->items[i].since);
	}
	buf_add_text(&text, "],");
	add_counts(&text, r);
	add_frame(frames, &text);
}

static size_t add_users(struct buf *frames, const struct roster *from, const struct roster *to, const char *topic,
			int64_t wall_us)
{
	size_t changes = 0;

	for (size_t i = 0, j = 0; i < from->count || j < to->count;) {
		int order = compare_next(from, i, to, j);

		if (order < 0)
			add_user(frames, "leave", from->items[i].id, topic, wall_us);
		else if (order > 0)
			add_user(frames, "join", to->items[j].id, topic, wall_us);
		changes += order != 0;
		i += order <= 0;
		j += order >= 0;
	}
	return changes;
}

size_t roster_add_changes(struct buf *frames, const struct roster *from, const struct roster *to, const char *topic,
			  int64_t wall_us, bool *whole)
{
	struct buf text = BUF_EMPTY;

	*whole = roster_is_whole(from) != roster_is_whole(to);
	if (*whole)
		return 0;
	if (roster_is_whole(to))
		return add_users(frames, from, to, topic, wall_us);
	if (from->users == to->users && from->clients == to->clients && from->anonymous == to->anonymous)
		return 0;
	begin(&text, "presence", topic, wall_us);
	add_counts(&text, to);
	add_frame(frames, &text);
	return 1;
}
