#include "domain/text/decimal.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define EXPONENT_MAX INT64_C(1000000000000000)

/* 0.d1d2d3… · 10^exponent, d1 not 0; zero has no digits. */
struct decimal {
	bool negative;
	const char *digits; /* borrowed; a point may be among them */
	const char *end;
	int64_t exponent;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Of e, perhaps a sign, and digits; 0 of nothing. */
static int64_t read_exponent(const char *at, const char *end)
{
	bool negative = false;
	int64_t value = 0;

	for (; at < end; at++) {
		negative = negative || *at == '-';
		if (is_digit(*at))
			value = MIN(value * 10 + (*at - '0'), EXPONENT_MAX);
	}
	return negative ? -value : value;
}

static struct decimal read_decimal(struct span text)
{
	const char *at = text.bytes, *end = text.bytes + text.len;
	struct decimal d = {0};
	bool behind_point = false;

	d.negative = at < end && *at == '-';
	at += d.negative;
	for (; at < end && (is_digit(*at) || *at == '.'); at++) {
		if (*at == '.') {
			behind_point = true;
			continue;
		}
		if (!d.digits && *at != '0')
			d.digits = at;
		if (*at != '0')
			d.end = at + 1;
		if (d.digits && !behind_point)
			d.exponent++;
		else if (!d.digits && behind_point)
			d.exponent--;
	}
	if (d.digits)
		d.exponent += read_exponent(at, end);
	return d;
}

/* The next digit; 0 behind the last. */
static int take_digit(struct decimal *d)
{
	if (d->digits < d->end && *d->digits == '.')
		d->digits++;
	return d->digits < d->end ? *d->digits++ - '0' : 0;
}

static int compare_digits(struct decimal a, struct decimal b)
{
	while (a.digits < a.end || b.digits < b.end) {
		int difference = take_digit(&a) - take_digit(&b);

		if (difference != 0)
			return difference;
	}
	return 0;
}

/* Of two that are not negative, at least one of them not zero. */
static int compare_sizes(struct decimal a, struct decimal b)
{
	if (!a.digits || !b.digits)
		return a.digits ? 1 : -1;
	if (a.exponent != b.exponent)
		return a.exponent < b.exponent ? -1 : 1;
	return compare_digits(a, b);
}

int decimal_compare(struct span a, struct span b)
{
	struct decimal x = read_decimal(a), y = read_decimal(b);

	if (!x.digits && !y.digits)
		return 0;
	if (x.digits && y.digits && x.negative != y.negative)
		return x.negative ? -1 : 1;
	if (x.digits ? x.negative : y.negative)
		return compare_sizes(y, x);
	return compare_sizes(x, y);
}
