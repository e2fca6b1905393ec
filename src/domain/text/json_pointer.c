#include "domain/text/json_pointer.h"

#include <string.h>

#define DIGITS_MAX 4 /* of an index: no token has room for more elements */

bool json_pointer_valid(const char *pointer)
{
	if (pointer[0] != '/' || strlen(pointer) > JSON_POINTER_MAX)
		return false;
	for (const char *tilde = pointer; (tilde = strchr(tilde, '~')); tilde++)
		if (tilde[1] != '0' && tilde[1] != '1')
			return false;
	return true;
}

/* What is left behind the name that the pointer begins with. */
static const char *take_name(const char *pointer, char name[JSON_POINTER_MAX])
{
	const char *end = pointer + 1 + strcspn(pointer + 1, "/");

	for (pointer++; pointer < end;) {
		char c = *pointer++;

		if (c == '~')
			c = *pointer++ == '0' ? '~' : '/';
		*name++ = c;
	}
	*name = '\0';
	return end;
}

static json_object *element(json_object *array, const char *name)
{
	size_t len = strlen(name), index = 0;

	if (len == 0 || len > DIGITS_MAX || strspn(name, "0123456789") != len || (name[0] == '0' && len > 1))
		return NULL;
	for (; *name; name++)
		index = index * 10 + (size_t)(*name - '0');
	return json_object_array_get_idx(array, index); /* NULL beyond its end */
}

json_object *json_pointer_find(json_object *root, const char *pointer)
{
	char name[JSON_POINTER_MAX];

	while (root && *pointer) {
		pointer = take_name(pointer, name);
		if (json_object_is_type(root, json_type_object))
			root = json_object_object_get(root, name);
		else
			root = json_object_is_type(root, json_type_array) ? element(root, name) : NULL;
	}
	return root;
}

enum err json_pointer_put(json_object *root, const char *pointer, json_object *value)
{
	char name[JSON_POINTER_MAX];

	while (value) {
		json_object *next = NULL;

		pointer = take_name(pointer, name);
		if (*pointer == '\0') {
			if (json_object_object_add(root, name, value) == 0)
				return OK;
			break;
		}
		next = json_object_object_get(root, name);
		if (!json_object_is_type(next, json_type_object)) {
			next = json_object_new_object();
			if (!next || json_object_object_add(root, name, next) != 0) {
				json_object_put(next);
				break;
			}
		}
		root = next;
	}
	json_object_put(value);
	return ERR_MEMORY;
}
