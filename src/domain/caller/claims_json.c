/* The claims of tokens that are made here. */
#include <inttypes.h>
#include <string.h>

#include "domain/caller/claims.h"
#include "domain/text/json.h"
#include "domain/text/json_pointer.h"

static enum err put_text(json_object *root, const char *pointer, struct span text)
{
	return json_pointer_put(root, pointer, json_object_new_string_len(text.bytes, (int)text.len));
}

static enum err put_role(json_object *root, const struct token_rules *rules, enum role role)
{
	struct span name;
	json_object *list = NULL, *value = NULL;

	if (!token_rules_role_name(rules, role, &name))
		return role == ROLE_USER ? OK : ERR_CONFIG; /* whoever has no role is a user */
	if (!rules->role_claim)
		return put_text(root, "/role", name);
	list = json_object_new_array();
	value = list ? json_object_new_string_len(name.bytes, (int)name.len) : NULL;
	if (value && json_object_array_add(list, value) == 0)
		return json_pointer_put(root, rules->role_claim, list);
	json_object_put(value);
	json_object_put(list);
	return ERR_MEMORY;
}

static enum err put_claims(json_object *root, const struct token_rules *rules, const struct token_claims *claims,
			   int64_t now_s)
{
	enum err e = json_pointer_put(root, "/iat", json_object_new_int64(now_s));

	if (e == OK && claims->expires_s != 0)
		e = json_pointer_put(root, "/exp", json_object_new_int64(claims->expires_s));
	if (e == OK && rules->issuer)
		e = put_text(root, "/iss", (struct span){rules->issuer, strlen(rules->issuer)});
	if (e == OK && rules->audience)
		e = put_text(root, "/aud", (struct span){rules->audience, strlen(rules->audience)});
	if (e == OK)
		e = put_role(root, rules, claims->role);
	if (e == OK)
		e = put_text(root, rules->user_claim ? rules->user_claim : "/sub",
			     (struct span){claims->user_id, strlen(claims->user_id)});
	return e;
}

/* Of what is made here: objects, a list of one, texts and integers. json-c's own writer leaves out what it has no memory for. */
static void add_value(struct buf *out, json_object *value)
{
	const char *separator = "";

	if (json_object_is_type(value, json_type_object)) {
		buf_add_text(out, "{");
		json_object_object_foreach(value, name, member)
		{
			buf_add_text(out, separator);
			json_add_string(out, name, strlen(name));
			buf_add_text(out, ":");
			add_value(out, member);
			separator = ",";
		}
		buf_add_text(out, "}");
	} else if (json_object_is_type(value, json_type_array)) {
		buf_add_text(out, "[");
		add_value(out, json_object_array_get_idx(value, 0));
		buf_add_text(out, "]");
	} else if (json_object_is_type(value, json_type_string)) {
		json_add_string(out, json_object_get_string(value), (size_t)json_object_get_string_len(value));
	} else {
		buf_printf(out, "%" PRId64, json_object_get_int64(value));
	}
}

enum err claims_add_json(struct buf *out, const struct token_rules *rules, const struct token_claims *claims,
			 int64_t now_s)
{
	json_object *root = json_object_new_object();
	enum err e = root ? put_claims(root, rules, claims, now_s) : ERR_MEMORY;

	if (e == OK)
		add_value(out, root);
	json_object_put(root);
	return e == OK && !buf_ok(out) ? ERR_MEMORY : e;
}
