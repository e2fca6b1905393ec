#include "ws/identity/session_audit.h"

#include <string.h>

#include "base/log/audit.h"
#include "ws/identity/user_sessions.h"
#include "ws/metrics/node_metrics.h"

static void write_line(const struct session *s, const char *event, const char *key, const char *value,
		       const char *outcome)
{
	char id[UUID_TEXT_SIZE], address[ADDRESS_TEXT_SIZE];
	struct log_subject subject = {
		.client = address_text(address, &s->client.address),
		.request_id = s->client.request_id,
	};

	log_set_subject(&subject);
	audit_write(event, &(struct audit){
				   .user_id = s->user ? s->user->id : NULL,
				   .role = s->user ? role_text(s->role) : NULL,
				   .connection_id = uuid_text(id, &s->id),
				   .transport = session_transport(s),
				   .key = key,
				   .value = value,
				   .outcome = outcome,
			   });
	log_set_subject(NULL);
}

void session_audit_connect(const struct session *s)
{
	write_line(s, "connect", NULL, NULL, "ok");
	metrics_add(&s->node->metrics, METRIC_CONNECTIONS_OPENED, s->kind->transport, 0, 1);
}

void session_audit_authenticate(const struct session *s, const char *outcome)
{
	write_line(s, "authenticate", NULL, NULL, outcome);
}

void session_audit_subscribe(const struct session *s, const char *topic, const char *outcome)
{
	write_line(s, "subscribe", "topic", topic, outcome);
}

void session_audit_unsubscribe(const struct session *s, const char *topic, const char *why)
{
	write_line(s, "unsubscribe", "topic", topic, why);
}

void session_audit_act(const struct session *s, const char *type, const char *outcome)
{
	write_line(s, "publish", "type", type, outcome);
}

void session_audit_poller_gone(const struct subscription *sub, const struct address *client)
{
	char id[UUID_TEXT_SIZE], address[ADDRESS_TEXT_SIZE];
	const struct log_subject subject = {.client = address_text(address, client)};

	log_set_subject(&subject);
	audit_write("disconnect", &(struct audit){
					  .user_id = sub->subscriber.reader.user_id,
					  .connection_id = uuid_text(id, &sub->subscriber.reader.connection_id),
					  .transport = sub->record.transport,
					  .outcome = "ok",
				  });
	log_set_subject(NULL);
}

void session_audit_disconnect(const struct session *s)
{
	write_line(s, "disconnect", NULL, NULL, s->end.reason && s->end.reason[0] ? s->end.reason : "ok");
	node_count_closed(s->node, s->kind->transport, s->end.code, s->outlet.ended);
}
