#include "domain/topic.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DIAGNOSIS_PREFIX "diagnosis/"
#define ID_DIGITS_MAX 18 /* fits int64_t whatever the digits are */

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

	if (len == 0 || len > ID_DIGITS_MAX || text[0] == '0')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (text[i] - '0');
	}
	*id = value;
	return true;
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
