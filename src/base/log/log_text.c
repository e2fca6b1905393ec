#include "base/log/log_text.h"

#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log/log_fields.h"

static const char *level_text(enum log_level level)
{
	switch (level) {
	case LOG_OFF_:
		break;
	case LOG_ERROR_:
		return "error";
	case LOG_WARNING_:
		return "warning";
	case LOG_AUDIT_:
	case LOG_NOTICE_:
		return "notice";
	case LOG_INFO_:
		return "info";
	case LOG_DEBUG_:
		return "debug";
	}
	return "unknown";
}

int log_text_priority(enum log_level level)
{
	switch (level) {
	case LOG_OFF_:
		break;
	case LOG_ERROR_:
		return LOG_ERR;
	case LOG_WARNING_:
		return LOG_WARNING;
	case LOG_AUDIT_:
	case LOG_NOTICE_:
		return LOG_NOTICE;
	case LOG_INFO_:
		return LOG_INFO;
	case LOG_DEBUG_:
		return LOG_DEBUG;
	}
	return LOG_ERR;
}

/* A line stays a line, whatever a caller forgot to quote. */
static void flatten(char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = ' ';
}

/* What of snprintf()'s answer is really there. */
static size_t written(int answer, size_t size)
{
	if (answer < 0)
		return 0;
	return MIN((size_t)answer, size - 1);
}

static size_t compose_logfmt(char *line, size_t size, const struct log_text_style *style, enum log_level level,
			     struct span message)
{
	char now[CLOCK_TEXT_SIZE];
	size_t len = 0;

	if (style->taker == LOG_TAKER_FILE)
		len = written(snprintf(line, size, "%s %s[%d] %s: ", clock_text(now, clock_wall_us()), style->program,
				       (int)getpid(), level_text(level)),
			      size);
	message.len = MIN(message.len, size - len);
	memcpy(line + len, message.bytes, message.len);
	flatten(line + len, message.len);
	return len + message.len;
}

/* A reader of JSON has one structure, wherever the line comes from: so time, program and process are always in it. */
static size_t compose_json(char *line, size_t size, const struct log_text_style *style, enum log_level level,
			   struct span message)
{
	char now[CLOCK_TEXT_SIZE];
	size_t len =
		written(snprintf(line, size, "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\",\"pid\":%d,",
				 clock_text(now, clock_wall_us()), level_text(level), style->program, (int)getpid()),
			size);

	len += log_fields_json(line + len, size - len - 1, message);
	line[len++] = '}';
	return len;
}

size_t log_text_compose(char line[LOG_LINE_SIZE], const struct log_text_style *style, enum log_level level,
			struct span message)
{
	size_t size = LOG_LINE_SIZE - 1; /* the newline's place */
	size_t len = 0;

	if (style->taker == LOG_TAKER_JOURNAL)
		len = written(snprintf(line, size, "<%d>", log_text_priority(level)), size);
	if (style->format == LOG_FORMAT_JSON)
		len += compose_json(line + len, size - len, style, level, message);
	else
		len += compose_logfmt(line + len, size - len, style, level, message);
	if (style->taker != LOG_TAKER_SYSLOG)
		line[len++] = '\n';
	return len;
}
