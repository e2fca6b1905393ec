#include "base/log/audit.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/log/audit_sink.h"
#include "base/log/log.h"

#define VALUE_SIZE 300 /* what is longer is escaped to its length: so all of them fit a line of the log */

static void add(struct buf *line, const char *key, const char *value)
{
	char quoted[VALUE_SIZE];

	if (value)
		buf_printf(line, " %s=%s", key, log_quote(quoted, sizeof(quoted), value, strlen(value)));
}

/* What the thread's lines are about, without what the line has of its own. */
static struct log_subject rest_of(const struct log_subject *subject, const struct audit *a)
{
	struct log_subject rest = subject ? *subject : (struct log_subject){0};

	if (a->connection_id)
		rest.connection_id = NULL;
	if (a->user_id)
		rest.user_id = NULL;
	return rest;
}

void audit_write(const char *event, const struct audit *a)
{
	struct buf line = BUF_EMPTY;
	char message[LOG_LINE_SIZE];
	const struct log_subject *subject = log_get_subject();
	const struct log_subject rest = rest_of(subject, a);

	buf_printf(&line, "audit event=%s", event);
	add(&line, "connection", a->connection_id);
	add(&line, "transport", a->transport);
	add(&line, "user", a->user_id);
	add(&line, "role", a->role);
	if (a->key)
		add(&line, a->key, a->value);
	add(&line, "type", a->type);
	add(&line, "topic", a->topic);
	if (a->seq > 0)
		buf_printf(&line, " seq=%" PRId64, a->seq);
	add(&line, "path", a->path);
	add(&line, "outcome", a->outcome);
	add(&line, "why", a->why);
	log_set_subject(&rest);
	if (!buf_ok(&line))
		log_error("no memory for a line of the audit trail event=%s", event);
	else if (audit_sink_is_open())
		audit_sink_add((struct span){message, log_message(message, "%s", line.bytes)});
	else
		log_write(LOG_AUDIT_, "%s", line.bytes);
	log_set_subject(subject);
	buf_free(&line);
}
