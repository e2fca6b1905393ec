#include "ws/deliver/flush_columns.h"

#include <stdlib.h>

#include "base/defs.h"

/* Each with room for one more: an empty one is no failure. */
bool flush_columns_new(struct flush_columns *c, const struct flush_room *room)
{
	size_t presence = room->presence + 1, opened = room->opened + 1, closed = room->closed + 1;
	size_t delivered = room->delivered + 1, sent = room->sent + 1, devices = room->devices + 1;
	struct flush *f = &c->flush;

	*c = (struct flush_columns){
		.flush =
			{
				.presence_topics = calloc(presence, sizeof(int64_t)),
				.presence_clients = calloc(presence, sizeof(int64_t)),
				.opened_topics = calloc(opened, sizeof(int64_t)),
				.opened_ids = calloc(opened, sizeof(char *)),
				.opened_users = calloc(opened, sizeof(char *)),
				.opened_transports = calloc(opened, sizeof(char *)),
				.opened_at = calloc(opened, sizeof(char *)),
				.closed_ids = calloc(closed, sizeof(char *)),
				.closed_topics = calloc(closed, sizeof(int64_t)),
				.delivered_topics = calloc(delivered, sizeof(int64_t)),
				.delivered_seqs = calloc(delivered, sizeof(int64_t)),
				.confirmed_seqs = calloc(delivered, sizeof(int64_t)),
				.delivered_epochs = calloc(delivered, sizeof(char *)),
				.sent_topics = calloc(sent, sizeof(int64_t)),
				.sent_seqs = calloc(sent, sizeof(int64_t)),
				.sent_epochs = calloc(sent, sizeof(char *)),
				.device_users = calloc(devices, sizeof(char *)),
				.device_names = calloc(devices, sizeof(char *)),
				.device_topics = calloc(devices, sizeof(char *)),
				.device_epochs = calloc(devices, sizeof(char *)),
				.device_seqs = calloc(devices, sizeof(int64_t)),
			},
		.ids = calloc(opened, UUID_TEXT_SIZE),
		.times = calloc(opened, CLOCK_TEXT_SIZE),
	};
	return f->presence_topics && f->presence_clients && f->opened_topics && f->opened_ids && f->opened_users &&
	       f->opened_transports && f->opened_at && f->closed_ids && f->closed_topics && f->delivered_topics &&
	       f->delivered_seqs && f->delivered_epochs && f->sent_topics && f->sent_seqs && f->sent_epochs &&
	       f->confirmed_seqs && f->device_users && f->device_names && f->device_topics && f->device_epochs &&
	       f->device_seqs && c->ids && c->times;
}

void flush_columns_add_opened(struct flush_columns *c, const struct subscription *sub)
{
	struct flush *f = &c->flush;
	size_t i = f->opened_count++;

	f->opened_ids[i] = uuid_text(c->ids[i], &sub->subscriber.reader.connection_id);
	f->opened_topics[i] = sub->record.topic_id;
	f->opened_users[i] = sub->subscriber.reader.user_id;
	f->opened_transports[i] = sub->record.transport;
	f->opened_at[i] = clock_text(c->times[i], sub->record.connected_us);
}

void flush_columns_add_closed(struct flush_columns *c, const char *connection_id, int64_t topic_id)
{
	struct flush *f = &c->flush;

	f->closed_ids[f->closed_count] = connection_id;
	f->closed_topics[f->closed_count++] = topic_id;
}

void flush_columns_free(struct flush_columns *c)
{
	struct flush *f = &c->flush;
	void *all[] = {
		f->presence_topics,   f->presence_clients, f->opened_topics,  f->opened_ids,	f->opened_users,
		f->opened_transports, f->opened_at,	   f->closed_ids,     f->closed_topics, f->delivered_topics,
		f->delivered_seqs,    f->sent_topics,	   f->sent_seqs,      c->ids,		c->times,
		f->delivered_epochs,  f->sent_epochs,	   f->confirmed_seqs, f->device_users,	f->device_names,
		f->device_topics,     f->device_epochs,	   f->device_seqs};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		free(all[i]);
}
