#include "domain/topic/topic.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "domain/text/uuid.h"

#define DIAGNOSIS_PREFIX "diagnosis/"

bool topic_name_valid(const char *name, size_t len)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/-";

	if (len == 0 || len > TOPIC_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] == '\0' || !strchr(allowed, name[i]))
			return false;
	return true;
}

bool topic_parse_id(const char *text, size_t len, int64_t *id)
{
	int64_t value = 0;

	if (len == 0 || text[0] == '0')
		return false;
	for (size_t i = 0; i < len; i++) {
		int digit = text[i] - '0';

		if (digit < 0 || digit > 9 || value > (INT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*id = value;
	return true;
}

static bool is_diagnosis(const char *rest)
{
	int64_t id = 0;

	return topic_parse_id(rest, strlen(rest), &id);
}

static bool is_conversation(const char *rest)
{
	char text[UUID_TEXT_SIZE];
	struct uuid u;

	return uuid_parse(&u, rest, strlen(rest)) && strcmp(uuid_text(text, &u), rest) == 0;
}

static bool is_user(const char *rest)
{
	return rest[0] != '\0';
}

bool topic_name_misleads(const char *name)
{
	static const struct {
		const char *word;
		bool (*is_right)(const char *rest);
	} families[] = {
		{"chat", is_conversation}, {"chats", is_user},	       {"diagnosis", is_diagnosis},
		{"health", is_user},	   {"notifications", is_user},
	};
	size_t len = strcspn(name, "/");

	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		const char *word = families[i].word;

		if (strlen(word) == len && strncasecmp(word, name, len) == 0)
			return strncmp(word, name, len) != 0 || name[len] == '\0' ||
			       !families[i].is_right(name + len + 1);
	}
	return false;
}

bool topic_name_usable(const char *name, size_t len)
{
	return topic_name_valid(name, len) && !topic_name_misleads(name);
}

void topic_of_diagnosis(char name[TOPIC_NAME_MAX + 1], int64_t diagnosis_id)
{
	snprintf(name, TOPIC_NAME_MAX + 1, DIAGNOSIS_PREFIX "%" PRId64, diagnosis_id);
}

bool topic_diagnosis_id(const char *name, int64_t *diagnosis_id)
{
	size_t prefix = strlen(DIAGNOSIS_PREFIX);

	return strncmp(name, DIAGNOSIS_PREFIX, prefix) == 0 &&
	       topic_parse_id(name + prefix, strlen(name + prefix), diagnosis_id);
}
