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

void audit_write(const char *event, const struct audit *a)
{
	struct buf line = BUF_EMPTY;
	char message[LOG_LINE_SIZE];

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
	if (!buf_ok(&line))
		log_error("no memory for a line of the audit trail event=%s", event);
	else if (audit_sink_is_open())
		audit_sink_add((struct span){message, log_message(message, "%s", line.bytes)});
	else
		log_write(LOG_AUDIT_, "%s", line.bytes);
	buf_free(&line);
}
