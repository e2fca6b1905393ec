#include "domain/input/client_type.h"

#include <string.h>

#include "base/defs.h"

/* ---- acts */

static const struct field_rule ack_rules[] = {
	[ACK_TOPIC] = {"topic", FIELD_TOPIC, false},
	[ACK_SEQ] = {"seq", FIELD_COUNT, false},
	[ACK_ID] = {"id", FIELD_UUID, false},
};

static const struct field_rule chat_message_rules[] = {
	{"conversation_id", FIELD_UUID, true},
	{"message", FIELD_TEXT_4000, true},
	{"sender", FIELD_TEXT_128, false},
};

static const struct field_rule create_conversation_rules[] = {
	{"participants", FIELD_USERS, true},
	{"conversation_id", FIELD_UUID, false},
};

static const struct field_rule comment_feedback_rules[] = {
	{"feedback_id", FIELD_ID, true},
	{"comment", FIELD_TEXT_0_4000, true},
};

static const struct field_rule decide_recommendation_rules[] = {
	{"recommendation_id", FIELD_ID, true},
	{"status", FIELD_TEXT_128, true},
	{"reason", FIELD_TEXT_0_4000, false},
};

static const struct field_rule get_analytics_rules[] = {
	{"diagnosis_id", FIELD_ID, true},
	{"days", FIELD_COUNT, false},
};

static const struct field_rule get_effectiveness_rules[] = {
	{"recommendation_id", FIELD_ID, true},
	{"days", FIELD_COUNT, false},
};

static const struct field_rule get_feedback_rules[] = {
	{"diagnosis_id", FIELD_ID, true},
	{"recommendation_id", FIELD_ID, false},
	{"before", FIELD_ID, false},
	{"limit", FIELD_LIMIT_100, false},
};

static const struct field_rule get_health_rules[] = {
	{"metric", FIELD_TEXT_128, false},
	{"since", FIELD_TIME, false},
	{"limit", FIELD_LIMIT_500, false},
	{"user_id", FIELD_USER, false},
};

static const struct field_rule get_history_rules[] = {
	{"conversation_id", FIELD_UUID, true},
	{"before", FIELD_ID, false},
	{"limit", FIELD_LIMIT_100, false},
};

static const struct field_rule get_notifications_rules[] = {
	{"unread_only", FIELD_BOOL, false},
	{"limit", FIELD_LIMIT_100, false},
};

static const struct field_rule get_recommendations_rules[] = {
	{"diagnosis_id", FIELD_ID, true},
	{"status", FIELD_TEXT_128, false},
	{"before", FIELD_ID, false},
	{"limit", FIELD_LIMIT_100, false},
};

static const struct field_rule get_thresholds_rules[] = {
	{"user_id", FIELD_USER, false},
};

static const struct field_rule health_update_rules[] = {
	{"metric", FIELD_TEXT_128, true}, {"value", FIELD_NUMBER, true},  {"unit", FIELD_TEXT_128, false},
	{"timestamp", FIELD_TIME, false}, {"user_id", FIELD_USER, false},
};

static const struct field_rule broadcast_health_rules[] = {
	{"user_id", FIELD_USER, true},	 {"metric", FIELD_TEXT_128, true}, {"value", FIELD_NUMBER, true},
	{"unit", FIELD_TEXT_128, false}, {"timestamp", FIELD_TIME, false},
};

static const struct field_rule get_trending_rules[] = {
	{"by", FIELD_TEXT_128, false},	 {"condition", FIELD_TEXT_128, false}, {"days", FIELD_COUNT, false},
	{"sort", FIELD_TEXT_128, false}, {"limit", FIELD_LIMIT_100, false},
};

static const struct field_rule join_rules[] = {
	{"conversation_id", FIELD_UUID, true},
	{"user_id", FIELD_USER, false},
};

static const struct field_rule mark_read_rules[] = {
	{"id", FIELD_UUID, true},
};

static const struct field_rule notify_rules[] = {
	{"user_id", FIELD_USER, true},	    {"type", FIELD_NOTIFICATION_TYPE, true}, {"title", FIELD_TEXT_128, true},
	{"message", FIELD_TEXT_4000, true}, {"priority", FIELD_PRIORITY, false},     {"deliver_at", FIELD_TIME, false},
};

static const struct field_rule predict_rules[] = {
	{"diagnosis_id", FIELD_ID, true},
};

static const struct field_rule rate_feedback_rules[] = {
	{"feedback_id", FIELD_ID, true},
	{"rating", FIELD_RATING, true},
	{"effectiveness", FIELD_RATIO, false},
};

static const struct field_rule recommend_rules[] = {
	{"diagnosis_id", FIELD_ID, true}, {"herb", FIELD_TEXT_128, true}, {"condition", FIELD_TEXT_128, true},
	{"data", FIELD_OBJECT, false},	  {"replaces", FIELD_ID, false},  {"reason", FIELD_TEXT_0_4000, true},
};

static const struct field_rule set_preferences_rules[] = {
	{"types", FIELD_SWITCHES, false},
	{"quiet_hours", FIELD_QUIET_HOURS, false},
};

static const struct field_rule set_threshold_rules[] = {
	{"metric", FIELD_TEXT_128, true},
	[THRESHOLD_LOW] = {"low", FIELD_BOUND, false},
	[THRESHOLD_HIGH] = {"high", FIELD_BOUND, false},
	[THRESHOLD_SEVERITY] = {"severity", FIELD_PRIORITY, false},
	{"user_id", FIELD_USER, false},
};

static const struct field_rule submit_feedback_rules[] = {
	{"diagnosis_id", FIELD_ID, true},	{"rating", FIELD_RATING, true},
	{"recommendation_id", FIELD_ID, false}, {"effectiveness", FIELD_RATIO, false},
	{"comment", FIELD_TEXT_0_4000, false},	{"user_id", FIELD_USER, false},
};

static const struct field_rule typing_rules[] = {
	{"conversation_id", FIELD_UUID, true},
	{"is_typing", FIELD_BOOL, true},
};

static const struct field_rule withdraw_feedback_rules[] = {
	{"feedback_id", FIELD_ID, true},
};

/* ---- the connection's own */

static const struct field_rule token_rules[] = {
	[AUTHENTICATE_TOKEN] = {"token", FIELD_TOKEN, true},
};

static const struct field_rule authenticate_rules[] = {
	[AUTHENTICATE_TOKEN] = {"token", FIELD_TOKEN, true},
	[AUTHENTICATE_DEVICE] = {"device", FIELD_DEVICE, false},
};

static const struct field_rule subscribe_rules[] = {
	[SUBSCRIBE_NAME] = {"subscription", FIELD_TEXT_128, true},
	[SUBSCRIBE_CURSOR] = {"cursor", FIELD_TEXT_128, false},
	[SUBSCRIBE_TYPES] = {"types", FIELD_TYPES, false},
	[SUBSCRIBE_REWIND] = {"rewind", FIELD_LIMIT_100, false},
	[SUBSCRIBE_PRESENCE] = {"presence", FIELD_BOOL, false},
};

static const struct field_rule unsubscribe_rules[] = {
	[SUBSCRIBE_NAME] = {"subscription", FIELD_TEXT_128, true},
};

/* ---- all of them */

enum sort { ACT, HTTP_ACT, QUESTION, EXACT_QUESTION, OWN }; /* client_type.h has what they are */

#define RULES(table) (table), ARRAY_LEN(table)

static const struct type_rules {
	const char *name;
	enum sort sort;
	const struct field_rule *rules;
	size_t rules_count;
} kinds[] = {
	[CLIENT_ACK] = {"ack", ACT, RULES(ack_rules)},
	[CLIENT_AUTHENTICATE] = {"authenticate", OWN, RULES(authenticate_rules)},
	[CLIENT_BROADCAST_CHAT] = {"chat_message", HTTP_ACT, RULES(chat_message_rules)},
	[CLIENT_BROADCAST_HEALTH] = {"health_update", HTTP_ACT, RULES(broadcast_health_rules)},
	[CLIENT_CHAT_MESSAGE] = {"chat_message", ACT, RULES(chat_message_rules)},
	[CLIENT_COMMENT_FEEDBACK] = {"comment_feedback", ACT, RULES(comment_feedback_rules)},
	[CLIENT_CREATE_CONVERSATION] = {"create_conversation", ACT, RULES(create_conversation_rules)},
	[CLIENT_DECIDE_RECOMMENDATION] = {"decide_recommendation", ACT, RULES(decide_recommendation_rules)},
	[CLIENT_GET_ANALYTICS] = {"get_analytics", EXACT_QUESTION, RULES(get_analytics_rules)},
	[CLIENT_GET_EFFECTIVENESS] = {"get_effectiveness", EXACT_QUESTION, RULES(get_effectiveness_rules)},
	[CLIENT_GET_FEEDBACK] = {"get_feedback", EXACT_QUESTION, RULES(get_feedback_rules)},
	[CLIENT_GET_HEALTH] = {"get_health", QUESTION, RULES(get_health_rules)},
	[CLIENT_GET_HISTORY] = {"get_history", QUESTION, RULES(get_history_rules)},
	[CLIENT_GET_MODELS] = {"get_models", EXACT_QUESTION, NULL, 0},
	[CLIENT_GET_NOTIFICATIONS] = {"get_notifications", QUESTION, RULES(get_notifications_rules)},
	[CLIENT_GET_PREFERENCES] = {"get_preferences", QUESTION, NULL, 0},
	[CLIENT_GET_RECOMMENDATIONS] = {"get_recommendations", EXACT_QUESTION, RULES(get_recommendations_rules)},
	[CLIENT_GET_THRESHOLDS] = {"get_thresholds", QUESTION, RULES(get_thresholds_rules)},
	[CLIENT_GET_TRENDING] = {"get_trending", EXACT_QUESTION, RULES(get_trending_rules)},
	[CLIENT_HEALTH_UPDATE] = {"health_update", ACT, RULES(health_update_rules)},
	[CLIENT_JOIN] = {"join", ACT, RULES(join_rules)},
	[CLIENT_MARK_READ] = {"mark_read", ACT, RULES(mark_read_rules)},
	[CLIENT_NOTIFY] = {"notify", HTTP_ACT, RULES(notify_rules)},
	[CLIENT_PING] = {"ping", OWN, NULL, 0},
	[CLIENT_PREDICT] = {"predict", ACT, RULES(predict_rules)},
	[CLIENT_RATE_FEEDBACK] = {"rate_feedback", ACT, RULES(rate_feedback_rules)},
	[CLIENT_RECOMMEND] = {"recommend", ACT, RULES(recommend_rules)},
	[CLIENT_REFRESH_TOKEN] = {"refresh_token", OWN, RULES(token_rules)},
	[CLIENT_SET_PREFERENCES] = {"set_preferences", ACT, RULES(set_preferences_rules)},
	[CLIENT_SET_THRESHOLD] = {"set_threshold", ACT, RULES(set_threshold_rules)},
	[CLIENT_SUBSCRIBE] = {"subscribe", OWN, RULES(subscribe_rules)},
	[CLIENT_SUBMIT_FEEDBACK] = {"submit_feedback", ACT, RULES(submit_feedback_rules)},
	[CLIENT_TYPING] = {"typing", ACT, RULES(typing_rules)},
	[CLIENT_UNSUBSCRIBE] = {"unsubscribe", OWN, RULES(unsubscribe_rules)},
	[CLIENT_WITHDRAW_FEEDBACK] = {"withdraw_feedback", ACT, RULES(withdraw_feedback_rules)},
};

_Static_assert(ARRAY_LEN(notify_rules) == CLIENT_FIELDS_MAX && ARRAY_LEN(health_update_rules) <= CLIENT_FIELDS_MAX &&
		       ARRAY_LEN(broadcast_health_rules) <= CLIENT_FIELDS_MAX &&
		       ARRAY_LEN(set_threshold_rules) <= CLIENT_FIELDS_MAX &&
		       ARRAY_LEN(recommend_rules) <= CLIENT_FIELDS_MAX &&
		       ARRAY_LEN(submit_feedback_rules) <= CLIENT_FIELDS_MAX,
	       "a table is larger than its readers have room for");

bool client_type_is_act(enum client_type type)
{
	return kinds[type].sort != OWN;
}

const char *client_type_text(enum client_type type)
{
	return kinds[type].name;
}

const char *client_type_missing(enum client_type type)
{
	if (kinds[type].rules == chat_message_rules || kinds[type].rules == get_history_rules ||
	    kinds[type].rules == join_rules || kinds[type].rules == typing_rules)
		return "There is no such conversation.";
	if (kinds[type].rules == ack_rules || kinds[type].rules == mark_read_rules)
		return "There is no such notification.";
	if (kinds[type].rules_count > 0 && strcmp(kinds[type].rules[0].name, "diagnosis_id") == 0)
		return "There is no such diagnosis.";
	if (kinds[type].rules_count > 0 && strcmp(kinds[type].rules[0].name, "feedback_id") == 0)
		return "There is no such feedback.";
	if (kinds[type].rules == decide_recommendation_rules || kinds[type].rules == get_effectiveness_rules)
		return "There is no such recommendation.";
	return "There is no such user.";
}

bool client_type_find(const char *name, enum client_type *type)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (kinds[i].sort != HTTP_ACT && strcmp(kinds[i].name, name) == 0) {
			*type = (enum client_type)i;
			return true;
		}
	}
	return false;
}

bool client_type_changes_something(enum client_type type)
{
	return kinds[type].sort == ACT || kinds[type].sort == HTTP_ACT;
}

bool client_type_is_exact(enum client_type type)
{
	return client_type_changes_something(type) || kinds[type].sort == EXACT_QUESTION;
}

const struct field_rule *client_type_rules(enum client_type type, size_t *count)
{
	*count = kinds[type].rules_count;
	return kinds[type].rules;
}
