#include "domain/text/rfc3339.h"

struct time_reader {
	const char *at;
	const char *end;
};

static bool read_digits(struct time_reader *r, int count, int *value)
{
	int v = 0;

	if (r->end - r->at < count)
		return false;
	for (int i = 0; i < count; i++, r->at++) {
		if (*r->at < '0' || *r->at > '9')
			return false;
		v = v * 10 + (*r->at - '0');
	}
	*value = v;
	return true;
}

/* Takes either character; they may be the same. */
static bool take(struct time_reader *r, char one, char other)
{
	if (r->at == r->end || (*r->at != one && *r->at != other))
		return false;
	r->at++;
	return true;
}

static bool read_fraction(struct time_reader *r, int *us)
{
	int scale = 100000;
	int value = 0;

	if (r->at == r->end || *r->at < '0' || *r->at > '9')
		return false;
	for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
		value += (*r->at - '0') * scale;
		scale /= 10;
	}
	*us = value;
	return true;
}

static bool read_offset(struct time_reader *r, int *minutes)
{
	int sign = 1;
	int h = 0;
	int m = 0;

	if (take(r, 'Z', 'z')) {
		*minutes = 0;
		return true;
	}
	if (take(r, '-', '-'))
		sign = -1;
	else if (!take(r, '+', '+'))
		return false;
	if (!read_digits(r, 2, &h) || !take(r, ':', ':') || !read_digits(r, 2, &m) || h > 23 || m > 59)
		return false;
	*minutes = sign * (h * 60 + m);
	return true;
}

static bool leap_year(int y)
{
	return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int days_in_month(int y, int m)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return m == 2 && leap_year(y) ? 29 : days[m - 1];
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar. */
static int64_t days_from_epoch(int y, int m, int d)
{
	int64_t days = (int64_t)y * 365 + (y + 3) / 4 - (y + 99) / 100 +
		       (y + 399) / 400; /* before 1 January of y, from year 0 */

	for (int i = 1; i < m; i++)
		days += days_in_month(y, i);
	return days + d - 1 - 719528;
}

bool rfc3339_parse(const char *text, size_t len, int64_t *wall_us)
{
	struct time_reader r = {text, text + len};
	int y = 0, mo = 0, d = 0, h = 0, mi = 0, s = 0, us = 0, offset = 0;

	if (!read_digits(&r, 4, &y) || !take(&r, '-', '-') || !read_digits(&r, 2, &mo) || !take(&r, '-', '-') ||
	    !read_digits(&r, 2, &d) || !take(&r, 'T', 't') || !read_digits(&r, 2, &h) || !take(&r, ':', ':') ||
	    !read_digits(&r, 2, &mi) || !take(&r, ':', ':') || !read_digits(&r, 2, &s))
		return false;
	if (take(&r, '.', '.') && !read_fraction(&r, &us))
		return false;
	if (!read_offset(&r, &offset) || r.at != r.end)
		return false;
	if (mo < 1 || mo > 12 || d < 1 || d > days_in_month(y, mo) || h > 23 || mi > 59 || s > 60)
		return false;
	*wall_us = (((days_from_epoch(y, mo, d) * 24 + h) * 60 + mi - offset) * 60 + s) * 1000000 + us;
	return true;
}
