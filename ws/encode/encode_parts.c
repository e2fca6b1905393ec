#include "ws/encode/encode_parts.h"

#include "base/clock.h"
#include "domain/dialog/dialog.h"
#include "ws/identity/user_sessions.h"

void encode_places(struct encode_places *p, const struct session *s)
{
	p->count = 0;
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		if (s->subscriptions.items[i]->state >= SUBSCRIPTION_COUNTED)
			p->items[p->count++] = subscription_place(s->subscriptions.items[i]);
}

void encode_cursor(struct buf *out, const struct session *s)
{
	struct encode_places p;

	encode_places(&p, s);
	resume_points_add_cursor(out, p.items, p.count);
}

void encode_connect(struct buf *out, const struct session *s)
{
	struct encode_places p;
	struct dialog_welcome w = {.user_id = s->user ? s->user->id : NULL, .connection_id = s->id, .points = p.items};

	encode_places(&p, s);
	w.points_count = p.count;
	dialog_connect(out, &s->dialog, &w, clock_wall_us());
}

const char *encode_sentence(const struct session *s)
{
	return s->end.detail ? s->end.detail : s->end.reason;
}

void encode_nothing(struct buf *out, const struct subscription *sub)
{
	(void)out;
	(void)sub;
}
