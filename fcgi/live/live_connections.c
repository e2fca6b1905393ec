#include "fcgi/live/live_connections.h"

#include <inttypes.h>

#include "domain/caller/rate.h"
#include "store/request/connection_admin.h"

#define WAIT_MS 5000 /* for a node that has to do something */

/* An order to the nodes takes the lock that every commit with a NOTIFY takes, and a thread until a node has answered. */
#define ORDER_COST (10 * RATE_ONE)

/* A management act that leaves an audit line. False: it is not to be carried out, *res and the line say why. */
static bool may_order(struct live_visit *v, const char *event)
{
	if (live_visit_may_ask(v, ORDER_COST))
		return true;
	v->audit.outcome = "refused";
	v->audit.why = v->res->why;
	audit_write(event, &v->audit);
	return false;
}

static struct admin_request request_of(const struct live_visit *v, const char *subject)
{
	return (struct admin_request){v->caller.user_id, role_text(v->caller.role), subject};
}

static const char no_connection[] = "There is no such connection.";

void live_connection_health(struct live_visit *v)
{
	const struct buf nothing = BUF_EMPTY;
	struct admin_request r;
	char id[UUID_TEXT_SIZE];
	enum err e = OK;

	if (!live_visit_read_id(v, id))
		return;
	if (!live_visit_may_ask(v, ORDER_COST))
		return;
	r = request_of(v, id);
	e = connection_admin_health(v->worker->db, &r, WAIT_MS, &v->res->body);
	if (e != OK)
		live_visit_refuse(v, e, &nothing, no_connection);
}

void live_connection_disconnect(struct live_visit *v)
{
	const struct buf nothing = BUF_EMPTY;
	struct admin_request r;
	char id[UUID_TEXT_SIZE];
	bool gone = false;
	enum err e = OK;

	if (!live_visit_read_id(v, id))
		return;
	r = request_of(v, id);
	v->audit.connection_id = id;
	if (!may_order(v, "manage_disconnect"))
		return;
	v->audit.outcome = "ok";
	e = connection_admin_disconnect(v->worker->db, &r, WAIT_MS, &gone);
	if (e != OK) {
		live_visit_refuse(v, e, &nothing, no_connection);
	} else if (!gone) {
		response_refuse(v->res, 504, "The connection's node has not confirmed in time that it is closed.");
		v->audit.outcome = "not_confirmed";
	} else {
		buf_printf(&v->res->body, "{\"status\":\"disconnected\",\"connection_id\":\"%s\"}", id);
	}
	audit_write("manage_disconnect", &v->audit);
}

void live_connection_reconnect(struct live_visit *v)
{
	const struct buf nothing = BUF_EMPTY;
	struct span part = route_part(v->route, v->request);
	struct buf user = BUF_EMPTY;
	int64_t connections = 0;
	struct admin_request r;
	enum err e = OK;

	buf_add(&user, part.bytes, part.len);
	if (!user_id_valid(part.bytes, part.len)) {
		response_refuse(v->res, 404, "There is nothing at this path.");
		buf_free(&user);
		return;
	}
	v->audit.key = "subject";
	v->audit.value = buf_ok(&user) ? user.bytes : NULL;
	if (!may_order(v, "manage_reconnect")) {
		buf_free(&user);
		return;
	}
	r = request_of(v, user.bytes);
	e = buf_ok(&user) ? connection_admin_reconnect(v->worker->db, &r, &connections) : ERR_MEMORY;
	v->audit.outcome = "ok";
	if (e != OK) {
		live_visit_refuse(v, e, &nothing, "There is no such user.");
	} else {
		buf_add_text(&v->res->body, "{\"status\":\"reconnecting\",\"user_id\":");
		user_id_add_json(&v->res->body, user.bytes);
		buf_printf(&v->res->body, ",\"connections\":%" PRId64 "}", connections);
	}
	audit_write("manage_reconnect", &v->audit);
	buf_free(&user);
}
