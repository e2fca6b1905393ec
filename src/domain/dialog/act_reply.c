#include "domain/dialog/act_reply.h"

#include <inttypes.h>
#include <string.h>

#include "domain/input/fields.h"
#include "domain/text/json.h"

/*
 *	root	out: taken, json_object_put() it, whatever the outcome
 */
static enum err read_reply(struct span reply, struct json_object **root, struct field *data)
{
	const char *problem = NULL;
	enum err e = json_read(root, reply.bytes, reply.len, &problem);

	if (e != OK)
		return e;
	if (!json_object_is_type(*root, json_type_object) || !fields_find(*root, reply, "data", data) ||
	    !json_object_is_type(data->value, json_type_object))
		return ERR_INPUT;
	return OK;
}

enum err act_reply_write_broadcast(struct buf *out, struct span reply, const char *topic, int64_t seq, int64_t clients)
{
	struct json_object *root = NULL;
	struct field data = {0};
	enum err e = read_reply(reply, &root, &data);
	struct span rest = data.text;
	struct span value = {0};

	if (e == OK) {
		buf_add_text(out, "{\"status\":\"broadcasted\",\"topic\":");
		if (topic[0])
			json_add_string(out, topic, strlen(topic));
		else
			buf_add_text(out, "null");
		buf_add_text(out, ",\"seq\":");
		if (seq > 0)
			buf_printf(out, "%" PRId64, seq);
		else
			buf_add_text(out, "null");
		buf_printf(out, ",\"clients_notified\":%" PRId64, clients);
		json_object_object_foreach(data.value, key, member)
		{
			(void)member;
			if (!json_next(&rest, &value))
				break;
			if (strcmp(key, "seq") == 0 || strcmp(key, "status") == 0)
				continue;
			buf_add_text(out, ",");
			json_add_string(out, key, strlen(key));
			buf_add_text(out, ":");
			json_add_compact(out, value);
		}
		buf_add_text(out, "}");
	}
	json_object_put(root);
	return e;
}

enum err act_reply_write_data(struct buf *out, struct span reply)
{
	struct json_object *root = NULL;
	struct field data = {0};
	enum err e = read_reply(reply, &root, &data);

	if (e == OK)
		json_add_compact(out, data.text);
	json_object_put(root);
	return e;
}
