/*
 * node_metrics - what a sidecar counts, and tells Prometheus. The names, help texts and labels are in node_metrics.def.
 *
 * What happens is counted where it happens, in node.metrics; what there is now, and is known anyway, is looked at when
 * somebody asks.
 *
 * Layer    ws.
 */
#pragma once

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/metrics/metrics.h"

struct node;

enum {
#define COUNTER(ID, NAME, LABEL, WORDS, LABEL2, WORDS2, HELP) METRIC_##ID,
#define GAUGE COUNTER
#define HISTOGRAM COUNTER
#include "ws/metrics/node_metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
	NODE_METRICS_COUNT
};

/* Words of the labels, in the order of their lists. */

/* transport */
enum client_transport { CLIENT_WEBSOCKET, CLIENT_SSE, CLIENT_LONG_POLL };
#define TRANSPORTS "websocket|sse|long_poll"

/* reason, of connections that were refused */
enum refusal {
	REFUSED_FULL,
	REFUSED_USER_LIMIT,
	REFUSED_TOKEN,
	REFUSED_FORBIDDEN,
	REFUSED_DATABASE,
	REFUSED_DRAINING,
	REFUSED_ORIGIN,
	REFUSED_HEAD,
};

/* reason, of messages that were refused */
enum message_refusal { MESSAGE_INVALID, MESSAGE_RATE, MESSAGE_SIZE };

/* use */
enum database_use { DATABASE_CALLS, DATABASE_LISTEN };
#define DATABASE_USES "calls|listen"

/* clients: powers of ten */
#define FAN_OUT_SIZE_MAX 4

/* recovered */
enum { RECOVERED_YES, RECOVERED_NO };

/* type: as enum client_type */
#define CLIENT_TYPES                                                                                 \
	"ack|chat_message|comment_feedback|create_conversation|decide_recommendation|get_analytics|" \
	"get_effectiveness|get_feedback|get_health|get_history|get_models|get_notifications|"        \
	"get_preferences|get_recommendations|get_thresholds|get_trending|health_update|join|"        \
	"mark_read|predict|rate_feedback|recommend|set_preferences|set_threshold|submit_feedback|"   \
	"typing|withdraw_feedback|broadcast_chat|broadcast_health|notify|authenticate|ping|"         \
	"refresh_token|subscribe|unsubscribe"

#define KEY_ALGORITHMS "HS256|HS384|HS512|RS256|RS384|RS512|ES256|ES384|ES512|PS256|PS384|PS512|EdDSA"

/* Before anything is counted. ERR_MEMORY */
enum err node_metrics_init(struct node *n) MUST_CHECK;
void node_metrics_free(struct node *n);

/* One more of a metric without labels. */
void node_count(const struct node *n, unsigned metric);

/* The sum of a counter's series. */
uint64_t node_counted(const struct node *n, unsigned metric);

/* A connection, or a request for one, is sent away. */
void node_count_refused(const struct node *n, enum refusal why);

/*
 * One ended.
 *
 *	code	of its close; 0: none
 *	whole	its reply went out to its end
 */
void node_count_closed(const struct node *n, enum client_transport transport, unsigned code, bool whole);

/*
 * All of it, appended.
 *
 *	lws_version	borrowed
 */
void node_metrics_write(const struct node *n, const char *lws_version, enum metrics_format format, struct buf *out);
