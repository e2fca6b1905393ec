#include "ws/dialog/early.h"

#include <string.h>

#include "ws/session/session_output.h"

#define EARLY_MAX 262144 /* bytes of a session's */

void early_keep(struct session *s, struct span text)
{
	if (!session_make_room(s->node, text.len)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	/* Each with its length before it. */
	buf_add(&s->in.early, &text.len, sizeof(text.len));
	buf_add(&s->in.early, text.bytes, text.len);
	if (!buf_ok(&s->in.early))
		session_close(s, CLOSE_TRY_LATER, "try again later");
	else if (s->in.early.len > EARLY_MAX)
		session_close(s, CLOSE_POLICY, "too many messages before it is let in");
	session_charge(s);
}

void early_hear(struct session *s, void (*hear)(struct session *s, struct span text))
{
	struct buf early = s->in.early;
	size_t at = 0, len;

	s->in.early = BUF_EMPTY;
	session_charge(s);
	while (at < early.len && s->state == SESSION_OPEN) {
		memcpy(&len, early.bytes + at, sizeof(len));
		at += sizeof(len);
		hear(s, (struct span){early.bytes + at, len});
		at += len;
	}
	buf_free(&early);
}
