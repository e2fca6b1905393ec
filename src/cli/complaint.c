#include "cli/complaint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/text/plain.h"

void complain(const char *format, ...)
{
	struct buf line = BUF_EMPTY;
	char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	plain_add_lines(&line, text ? text : "no memory");
	fprintf(stderr, "tidings: %s\n", line.len > 0 && buf_ok(&line) ? line.bytes : "no memory");
	buf_free(&line);
	free(text);
}
