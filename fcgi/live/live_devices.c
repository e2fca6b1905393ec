#include "fcgi/live/live_devices.h"

#include <stdio.h>

#include "domain/caller/rate.h"
#include "domain/topic/selection.h"
#include "store/request/device_admin.h"

void live_devices_list(struct live_visit *v)
{
	struct buf list = BUF_EMPTY;
	enum err e;

	if (!live_visit_may_ask(v, RATE_ONE))
		return;
	e = device_admin_list(v->worker->db, v->caller.user_id, &list);
	if (e != OK) {
		response_fault(v->res, e);
	} else {
		buf_add_text(&v->res->body, "{\"devices\":");
		buf_add(&v->res->body, list.bytes, list.len);
		buf_add_text(&v->res->body, "}");
	}
	buf_free(&list);
}

void live_devices_forget(struct live_visit *v)
{
	struct span part = route_part(v->route, v->request);
	char name[DEVICE_NAME_MAX + 1];
	bool found = false;
	enum err e;

	if (!device_name_valid(part.bytes, part.len)) {
		response_refuse(v->res, 404, "There is nothing at this path.");
		return;
	}
	snprintf(name, sizeof(name), "%.*s", (int)part.len, part.bytes);
	v->audit.key = "device";
	v->audit.value = name;
	v->audit.outcome = "ok";
	if (!live_visit_may_ask(v, RATE_ONE)) {
		v->audit.outcome = "refused";
		v->audit.why = v->res->why;
		audit_write("manage_forget_device", &v->audit);
		return;
	}
	e = device_admin_forget(v->worker->db, v->caller.user_id, name, &found);
	if (e == OK && !found)
		e = ERR_NOT_FOUND;
	if (e == OK)
		buf_printf(&v->res->body, "{\"status\":\"forgotten\",\"device\":\"%s\"}", name);
	else if (e == ERR_NOT_FOUND)
		response_refuse(v->res, 404, "You have no such device.");
	else
		response_fault(v->res, e);
	if (e != OK) {
		v->audit.outcome = "refused";
		v->audit.why = v->res->why;
	}
	audit_write("manage_forget_device", &v->audit);
}
