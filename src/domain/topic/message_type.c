#include "domain/topic/message_type.h"

#include <stddef.h>
#include <string.h>

#include "base/defs.h"

bool message_type_is_own(const char *type)
{
	static const char *const own[] = {
		"authenticated",
		"close",
		"connect",
		"connection_established",
		"error",
		"heartbeat",
		"join",
		"leave",
		"pong",
		"presence",
		"reconnect_messages",
		"revoked",
		"subscribed",
		"token_expiring",
		"token_refreshed",
		"unsubscribed",
	};

	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (strcmp(own[i], type) == 0)
			return true;
	return false;
}
