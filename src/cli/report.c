#include "cli/report.h"

#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/text/plain.h"
#include "domain/text/json.h"

#define COLUMNS_MAX 8

int report_json(const struct buf *json)
{
	struct buf line = BUF_EMPTY;
	int status = EXIT_DONE;

	if (buf_ok(json))
		plain_add_json(&line, (struct span){json->bytes, json->len});
	if (!buf_ok(json) || !buf_ok(&line) || line.len == 0)
		status = command_failed(NULL, ERR_MEMORY);
	else
		puts(line.bytes);
	if (line.bytes)
		explicit_bzero(line.bytes, line.size); /* a token may be in it */
	buf_free(&line);
	return status;
}

json_object *report_member(json_object *object, const char *name)
{
	json_object *value = NULL;

	return json_object_object_get_ex(object, name, &value) ? value : NULL;
}

void report_add_cell(struct buf *out, json_object *value)
{
	size_t count = json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0;

	if (!value || (json_object_is_type(value, json_type_array) && count == 0)) {
		buf_add_text(out, "-");
	} else if (count > 0) {
		for (size_t i = 0; i < count; i++) {
			if (i > 0)
				buf_add_text(out, ",");
			report_add_cell(out, json_object_array_get_idx(value, i));
		}
	} else {
		const char *text = json_object_get_string(value);

		plain_add(out, (struct span){text, strlen(text)});
	}
}

/* How many places a terminal gives it: those of characters, not of bytes. */
static size_t places(const struct buf *cell)
{
	size_t count = 0;

	for (size_t i = 0; i < cell->len; i++)
		count += ((unsigned char)cell->bytes[i] & 0xc0) != 0x80;
	return count;
}

static void measure(json_object *rows, const struct report_column *columns, size_t count, size_t *widths)
{
	struct buf cell = BUF_EMPTY;

	for (size_t c = 0; c < count; c++) {
		widths[c] = strlen(columns[c].title);
		for (size_t i = 0; i < json_object_array_length(rows); i++) {
			buf_clear(&cell);
			report_add_cell(&cell, report_member(json_object_array_get_idx(rows, i), columns[c].member));
			widths[c] = MAX(widths[c], places(&cell));
		}
	}
	buf_free(&cell);
}

static void add_padding(struct buf *out, size_t len, size_t width)
{
	for (; len < width + 2; len++)
		buf_add_text(out, " ");
}

static void add_row(struct buf *out, json_object *row, const struct report_column *columns, size_t count,
		    const size_t *widths)
{
	struct buf cell = BUF_EMPTY;

	for (size_t c = 0; c < count; c++) {
		buf_clear(&cell);
		if (row)
			report_add_cell(&cell, report_member(row, columns[c].member));
		else
			buf_add_text(&cell, columns[c].title);
		buf_add(out, cell.bytes, cell.len);
		if (c + 1 < count)
			add_padding(out, places(&cell), widths[c]);
	}
	buf_add_text(out, "\n");
	buf_free(&cell);
}

int report_table(const struct buf *json, bool as_json, const struct report_column *columns, size_t count,
		 const char *none)
{
	size_t widths[COLUMNS_MAX];
	struct buf text = BUF_EMPTY, line = BUF_EMPTY;
	json_object *rows = NULL;
	const char *problem = NULL;
	enum err e = OK;

	if (as_json || !buf_ok(json))
		return report_json(json);
	plain_add_json(&line, (struct span){json->bytes, json->len});
	e = buf_ok(&line) ? json_read(&rows, line.bytes, line.len, &problem) : ERR_MEMORY;
	if (e == OK && json_object_array_length(rows) == 0) {
		puts(none);
	} else if (e == OK) {
		measure(rows, columns, MIN(count, COLUMNS_MAX), widths);
		add_row(&text, NULL, columns, MIN(count, COLUMNS_MAX), widths);
		for (size_t i = 0; i < json_object_array_length(rows); i++)
			add_row(&text, json_object_array_get_idx(rows, i), columns, MIN(count, COLUMNS_MAX), widths);
		e = buf_ok(&text) ? OK : ERR_MEMORY;
		if (e == OK)
			fputs(text.bytes, stdout);
	}
	json_object_put(rows);
	buf_free(&text);
	buf_free(&line);
	return e == OK ? EXIT_DONE : command_failed(NULL, e);
}
