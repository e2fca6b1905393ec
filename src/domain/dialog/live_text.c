#include "domain/dialog/live_text.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "domain/caller/user_id.h"
#include "domain/text/json.h"

static void begin(struct buf *out, const char *type)
{
	buf_printf(out, "{\"type\":\"%s\",\"data\":{", type);
}

static void end(struct buf *out, const char *correlation, int64_t wall_us)
{
	char timestamp[CLOCK_TEXT_SIZE];

	buf_printf(out, "},\"timestamp\":\"%s\"", clock_text(timestamp, wall_us));
	if (correlation) {
		buf_add_text(out, ",\"correlation_id\":");
		buf_add_text(out, correlation);
	}
	buf_add_text(out, "}");
}

static void add_member(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, "\"%s\":", key);
	json_add_string(out, text, strlen(text));
}

static void add_expiry(struct buf *out, int64_t expires_s)
{
	char text[CLOCK_TEXT_SIZE];

	if (expires_s > 0)
		buf_printf(out, "\"expires_at\":\"%s\"", clock_text(text, expires_s * 1000000));
	else
		buf_add_text(out, "\"expires_at\":null");
}

void live_text_established(struct buf *out, const struct uuid *connection_id, int64_t heartbeat_s, int64_t wall_us)
{
	char id[UUID_TEXT_SIZE];

	begin(out, "connection_established");
	buf_printf(out, "\"connection_id\":\"%s\",\"state\":\"connected\",\"heartbeat_interval\":%" PRId64,
		   uuid_text(id, connection_id), heartbeat_s);
	end(out, NULL, wall_us);
}

void live_text_authenticated(struct buf *out, const char *user_id, const char *role, int64_t expires_s,
			     const char *subscription, const char *correlation, int64_t wall_us)
{
	begin(out, "authenticated");
	buf_add_text(out, "\"user_id\":");
	user_id_add_json(out, user_id);
	buf_printf(out, ",\"role\":\"%s\",", role);
	add_expiry(out, expires_s);
	buf_printf(out, ",\"state\":\"authenticated\",\"subscriptions\":[%s%s%s]", subscription ? "\"" : "",
		   subscription ? subscription : "", subscription ? "\"" : "");
	end(out, correlation, wall_us);
}

void live_text_subscribed(struct buf *out, const char *name, const struct resume_point *point, const char *correlation,
			  int64_t wall_us)
{
	begin(out, "subscribed");
	add_member(out, "subscription", name);
	buf_printf(out, ",\"topic\":\"%s\",\"cursor\":\"", point->topic);
	resume_points_add_cursor(out, point, 1);
	buf_add_text(out, "\",");
	resume_points_add_recovery(out, point, 1, false);
	end(out, correlation, wall_us);
}

void live_text_unsubscribed(struct buf *out, const char *name, const char *topic, const char *reason,
			    const char *correlation, int64_t wall_us)
{
	begin(out, "unsubscribed");
	add_member(out, "subscription", name);
	if (topic)
		buf_printf(out, ",\"topic\":\"%s\"", topic);
	if (reason)
		buf_printf(out, ",\"reason\":\"%s\"", reason);
	end(out, correlation, wall_us);
}

void live_text_pong(struct buf *out, const char *correlation, int64_t wall_us)
{
	begin(out, "pong");
	end(out, correlation, wall_us);
}

void live_text_heartbeat(struct buf *out, int64_t wall_us)
{
	begin(out, "heartbeat");
	end(out, NULL, wall_us);
}

void live_text_token_refreshed(struct buf *out, int64_t expires_s, const char *correlation, int64_t wall_us)
{
	begin(out, "token_refreshed");
	add_expiry(out, expires_s);
	end(out, correlation, wall_us);
}

void live_text_token_expiring(struct buf *out, int64_t expires_in_s, int64_t wall_us)
{
	begin(out, "token_expiring");
	buf_printf(out, "\"expires_in\":%" PRId64, expires_in_s);
	end(out, NULL, wall_us);
}

void live_text_over_quota(struct buf *out, const char *correlation, int64_t wall_us)
{
	begin(out, "error");
	buf_printf(out,
		   "\"code\":\"quota_exceeded\",\"message\":\"You may have no more stored "
		   "today.\",\"retry_after\":%" PRId64,
		   clock_day_left_s(wall_us));
	end(out, correlation, wall_us);
}

void live_text_error(struct buf *out, const char *code, const char *message, const struct problem *wrong,
		     const char *correlation, int64_t wall_us)
{
	begin(out, "error");
	buf_printf(out, "\"code\":\"%s\",", code);
	add_member(out, "message", message);
	if (wrong)
		problem_add_errors(out, wrong);
	end(out, correlation, wall_us);
}
