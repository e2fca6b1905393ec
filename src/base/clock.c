#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#define US_PER_S 1000000
#define S_PER_DAY 86400

int64_t clock_monotonic_us(void)
{
	struct timespec t = {0};

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * US_PER_S + t.tv_nsec / 1000;
}

int64_t clock_monotonic_ms(void)
{
	return clock_monotonic_us() / 1000;
}

int64_t clock_wall_us(void)
{
	struct timespec t = {0};

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * US_PER_S + t.tv_nsec / 1000;
}

int64_t clock_day_left_s(int64_t wall_us)
{
	int64_t of_day_s = wall_us / US_PER_S % S_PER_DAY;

	return S_PER_DAY - of_day_s;
}

char *clock_http_date(char out[CLOCK_HTTP_DATE_SIZE], int64_t wall_us)
{
	static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
					 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t seconds = (time_t)(wall_us / US_PER_S);
	struct tm tm = {0};

	gmtime_r(&seconds, &tm);
	snprintf(out, CLOCK_HTTP_DATE_SIZE, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday],
		 (unsigned)tm.tm_mday % 100, months[tm.tm_mon], (unsigned)(tm.tm_year + 1900) % 10000,
		 (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
	return out;
}

char *clock_text(char out[CLOCK_TEXT_SIZE], int64_t wall_us)
{
	int64_t rest_us = wall_us % US_PER_S;
	time_t seconds = 0;
	struct tm tm = {0};

	if (rest_us < 0)
		rest_us += US_PER_S;
	seconds = (time_t)((wall_us - rest_us) / US_PER_S);
	gmtime_r(&seconds, &tm);
	/* The remainders are for the compiler, which cannot know that each number has its digits. */
	snprintf(out, CLOCK_TEXT_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)(tm.tm_year + 1900) % 10000,
		 (unsigned)(tm.tm_mon + 1) % 100, (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100,
		 (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100, (unsigned)(rest_us / 1000) % 1000);
	return out;
}
