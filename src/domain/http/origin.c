#include "domain/http/origin.h"

#include <string.h>

#include "domain/http/header_list.h"

bool origin_allowed(const char *allowed, struct span origin)
{
	struct span list = {allowed, allowed ? strlen(allowed) : 0}, item;

	while (list_next(&list, ',', &item)) {
		if (item.len == 1 && item.bytes[0] == '*')
			return true;
		if (item.len == origin.len && memcmp(item.bytes, origin.bytes, item.len) == 0)
			return true;
	}
	return false;
}
