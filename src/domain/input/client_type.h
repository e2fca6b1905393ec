/*
 * client_type - the types of messages that clients send: the members that each has, and whether the database carries it out.
 *
 * A type is of one sort: an ACT changes something in the database, wherever it comes from; an HTTP_ACT does so by a service's
 * broadcast alone; a QUESTION changes nothing, and neither does an EXACT_QUESTION, which is read as strictly as an act; one of the
 * connection's OWN means something on a connection only.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "domain/input/fields.h"

enum client_type {
	CLIENT_ACK,
	CLIENT_CHAT_MESSAGE,
	CLIENT_COMMENT_FEEDBACK,
	CLIENT_CREATE_CONVERSATION,
	CLIENT_DECIDE_RECOMMENDATION,
	CLIENT_GET_ANALYTICS,
	CLIENT_GET_EFFECTIVENESS,
	CLIENT_GET_FEEDBACK,
	CLIENT_GET_HEALTH,
	CLIENT_GET_HISTORY,
	CLIENT_GET_MODELS,
	CLIENT_GET_NOTIFICATIONS,
	CLIENT_GET_PREFERENCES,
	CLIENT_GET_RECOMMENDATIONS,
	CLIENT_GET_THRESHOLDS,
	CLIENT_GET_TRENDING,
	CLIENT_HEALTH_UPDATE,
	CLIENT_JOIN,
	CLIENT_MARK_READ,
	CLIENT_PREDICT,
	CLIENT_RATE_FEEDBACK,
	CLIENT_RECOMMEND,
	CLIENT_SET_PREFERENCES,
	CLIENT_SET_THRESHOLD,
	CLIENT_SUBMIT_FEEDBACK,
	CLIENT_TYPING,
	CLIENT_WITHDRAW_FEEDBACK,
	/* acts that no message may ask for: by HTTP only, client_message_read_body() */
	CLIENT_BROADCAST_CHAT,
	CLIENT_BROADCAST_HEALTH,
	CLIENT_NOTIFY,
	/* the connection's own */
	CLIENT_AUTHENTICATE,
	CLIENT_PING,
	CLIENT_REFRESH_TOKEN,
	CLIENT_SUBSCRIBE,
	CLIENT_UNSUBSCRIBE,
};

/* False: it is the connection's own. */
bool client_type_is_act(enum client_type type);

/* What tidings.act() knows it by. Lent: static. */
const char *client_type_text(enum client_type type);

/* What is missing where an act of this type finds nothing: "There is no such conversation." Lent: static. */
const char *client_type_missing(enum client_type type);

/* The type that a message asks for by this name. False: there is none. */
bool client_type_find(const char *name, enum client_type *type);

/* True: it changes something, in the database. */
bool client_type_changes_something(enum client_type type);

/* True: a member that it does not have is refused. */
bool client_type_is_exact(enum client_type type);

#define CLIENT_FIELDS_MAX 6

/* The members of a type. Lent: static. Its reader looks at those that have an index here. */
const struct field_rule *client_type_rules(enum client_type type, size_t *count);

/* ack */
enum { ACK_TOPIC, ACK_SEQ, ACK_ID };

/* set_threshold */
enum { THRESHOLD_LOW = 1, THRESHOLD_HIGH, THRESHOLD_SEVERITY };

/* authenticate, refresh_token */
enum { AUTHENTICATE_TOKEN, AUTHENTICATE_DEVICE };

/* subscribe, unsubscribe */
enum { SUBSCRIBE_NAME, SUBSCRIBE_CURSOR, SUBSCRIBE_TYPES, SUBSCRIBE_REWIND, SUBSCRIBE_PRESENCE };
