#include "domain/topic/resume_point.h"

#include <inttypes.h>

#include "domain/topic/cursor.h"

void resume_points_add_cursor(struct buf *out, const struct resume_point *points, size_t count)
{
	char text[CURSOR_TEXT_SIZE];

	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			buf_add_text(out, ".");
		buf_add_text(out, cursor_text(text, points[i].epoch, points[i].seq));
	}
}

static void add_resumed_by(struct buf *out, enum resumed_by by)
{
	static const char *const words[] = {
		[RESUMED_BY_QUEUE] = "queue", [RESUMED_BY_CURSOR] = "cursor", [RESUMED_BY_DEVICE] = "device"};

	buf_printf(out, ",\"resumed_by\":\"%s\"", words[by]);
}

static void add_one(struct buf *out, const struct resume_point *p)
{
	buf_printf(out, "\"recovered\":%s", p->recovered ? "true" : "false");
	add_resumed_by(out, p->resumed_by);
	if (p->rewound)
		buf_add_text(out, ",\"rewound\":true");
	if (p->missed_from > 0)
		buf_printf(out, ",\"missed\":{\"from\":%" PRIu64 ",\"to\":%" PRIu64 "}", p->missed_from, p->missed_to);
}

void resume_points_add_recovery(struct buf *out, const struct resume_point *points, size_t count, bool by_topic)
{
	bool recovered = true, alike = true;

	if (!by_topic) {
		add_one(out, points);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		recovered = recovered && points[i].recovered;
		alike = alike && points[i].resumed_by == points[0].resumed_by;
	}
	buf_printf(out, "\"recovered\":%s", recovered ? "true" : "false");
	if (count > 0 && alike)
		add_resumed_by(out, points[0].resumed_by);
	buf_add_text(out, ",\"topics\":{");
	for (size_t i = 0; i < count; i++) {
		/* A name of a topic needs no escapes. */
		buf_printf(out, "%s\"%s\":{\"cursor\":\"", i > 0 ? "," : "", points[i].topic);
		resume_points_add_cursor(out, &points[i], 1);
		buf_add_text(out, "\",");
		add_one(out, &points[i]);
		buf_add_text(out, "}");
	}
	buf_add_text(out, "}");
}
