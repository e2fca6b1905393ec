#include "domain/fanout/ephemeral.h"

#include <stdlib.h>
#include <string.h>

#include "domain/websocket/frame.h"

void ephemerals_init(struct ephemerals *all)
{
	*all = (struct ephemerals){0};
	STAILQ_INIT(&all->list);
}

static void drop_first(struct ephemerals *all)
{
	struct ephemeral *e = STAILQ_FIRST(&all->list);

	STAILQ_REMOVE_HEAD(&all->list, next);
	all->bytes -= e->len;
	free(e);
}

void ephemerals_clear(struct ephemerals *all)
{
	while (!STAILQ_EMPTY(&all->list))
		drop_first(all);
}

enum err ephemerals_add(struct ephemerals *all, struct span frame, const char *to_user, const struct uuid *exclude)
{
	size_t user_size = to_user ? strlen(to_user) + 1 : 0;
	struct ephemeral *e = calloc(1, sizeof(*e) + frame.len + user_size);

	if (!e)
		return ERR_MEMORY;
	e->len = frame.len;
	memcpy(e->bytes, frame.bytes, frame.len);
	if (to_user) {
		e->to_user = e->bytes + frame.len;
		memcpy(e->to_user, to_user, user_size);
	}
	if (exclude) {
		e->has_exclude = true;
		e->exclude = *exclude;
	}
	while (!STAILQ_EMPTY(&all->list) && all->bytes + frame.len > EPHEMERALS_MAX_BYTES)
		drop_first(all);
	e->number = ++all->last;
	STAILQ_INSERT_TAIL(&all->list, e, next);
	all->bytes += frame.len;
	return OK;
}

bool ephemeral_is_for(const struct ephemeral *e, const struct reader *r)
{
	struct span frame = {e->bytes, e->len}, text;

	return reader_may_have(r, e->to_user, e->has_exclude ? &e->exclude : NULL) &&
	       (!r->types || (frame_next(&frame, &text) && message_types_have(r->types, text)));
}
