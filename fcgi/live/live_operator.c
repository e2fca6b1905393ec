#include "fcgi/live/live_operator.h"

#include <inttypes.h>
#include <string.h>

#include "domain/caller/rate.h"
#include "domain/http/query.h"
#include "domain/topic/topic.h"
#include "store/operation/outbox_admin.h"
#include "store/operation/overview.h"
#include "store/operation/revocation_admin.h"
#include "store/request/connection_admin.h"

#define REPORT_WAIT_MS 1000 /* for nodes that are to say how connections are */
#define DRAIN_WAIT_MS 5000
#define LIMIT_MAX 100

/*
 * By an administrator. False: *res says why not, and so does the audit line of what was to be done.
 *
 *	event	of that line; NULL: nothing is to be done
 */
static bool may_operate(struct live_visit *v, const char *event)
{
	if (live_visit_may_ask(v, RATE_ONE)) {
		if (v->caller.role == ROLE_ADMIN)
			return true;
		response_refuse(v->res, 403, "Only administrators may do this.");
	}
	v->audit.outcome = "refused";
	v->audit.why = v->res->why;
	if (event)
		audit_write(event, &v->audit);
	return false;
}

/* ---- what is asked */

/* Of a text, an empty one is not given. */
struct parameters {
	struct buf user, topic, after, by; /* owned */
	bool slow, failed;
	int64_t limit;
};

static void parameters_free(struct parameters *p)
{
	buf_free(&p->user);
	buf_free(&p->topic);
	buf_free(&p->after);
	buf_free(&p->by);
}

static const char *given(const struct buf *text)
{
	return text->len > 0 ? text->bytes : NULL;
}

/* As tidings.connections() makes it: a time in microseconds, a dot, and a connection. */
static bool is_place(const char *after, size_t len)
{
	const char *dot = memchr(after, '.', len);
	struct uuid id;
	int64_t us = 0;

	return dot && topic_parse_id(after, (size_t)(dot - after), &us) &&
	       uuid_parse(&id, dot + 1, len - (size_t)(dot + 1 - after));
}

static bool is_order(const char *by, size_t len)
{
	(void)len;
	return strcmp(by, "rate") == 0 || strcmp(by, "lag") == 0 || strcmp(by, "clients") == 0;
}

/*	must	what it must be */
static void read_text(const struct request *r, const char *name, bool (*valid)(const char *text, size_t len),
		      const char *must, struct buf *text, struct problem *problem)
{
	if (request_query(r, name, text) && buf_ok(text) && !(text->len > 0 && valid(text->bytes, text->len)))
		problem_add_field(problem, "", name, must);
}

/* Given is what is 1; 0 is as if it were not there. */
static bool read_switch(const struct request *r, const char *name, struct problem *problem)
{
	struct buf text = BUF_EMPTY;
	bool there = request_query(r, name, &text);
	bool on = there && text.len > 0 && strcmp(text.bytes, "1") == 0;

	if (there && !on && !(text.len > 0 && strcmp(text.bytes, "0") == 0))
		problem_add_field(problem, "", name, "must be 1 or 0");
	buf_free(&text);
	return on;
}

static void read_limit(const struct request *r, struct parameters *p, struct problem *problem)
{
	struct buf text = BUF_EMPTY;

	p->limit = LIMIT_MAX;
	if (request_query(r, "limit", &text) &&
	    !(text.len > 0 && topic_parse_id(text.bytes, text.len, &p->limit) && p->limit <= LIMIT_MAX))
		problem_add_field(problem, "", "limit", "must be an integer from 1 to 100");
	buf_free(&text);
}

/* False: *res says what is wrong. */
static bool is_right(struct live_visit *v, const struct parameters *p, struct problem *problem)
{
	if (!buf_ok(&p->user) || !buf_ok(&p->topic) || !buf_ok(&p->after) || !buf_ok(&p->by))
		response_fault(v->res, ERR_MEMORY);
	else if (problem->status != 0)
		response_problem(v->res, problem);
	problem_free(problem);
	return v->res->status == 200;
}

/* False: *res says what is wrong. */
static bool read_parameters(struct live_visit *v, struct parameters *p)
{
	static const struct query_name names[] = {{"user", true},  {"topic", true}, {"after", true}, {"by", true},
						  {"limit", true}, {"slow", true},  {"failed", true}};
	const struct request *r = v->request;
	struct problem problem = PROBLEM_NONE;

	query_check((struct span){r->query, strlen(r->query)}, names, ARRAY_LEN(names), &problem);
	read_text(r, "user", user_id_valid, "must be a user id", &p->user, &problem);
	read_text(r, "topic", topic_name_valid, "must be the name of a topic", &p->topic, &problem);
	read_text(r, "after", is_place, "must be the next that an earlier reply gave", &p->after, &problem);
	read_text(r, "by", is_order, "must be rate, lag or clients", &p->by, &problem);
	p->slow = read_switch(r, "slow", &problem);
	p->failed = read_switch(r, "failed", &problem);
	read_limit(r, p, &problem);
	return is_right(v, p, &problem);
}

/* ---- what there is */

/* The answer is in *list, or why there is none in e. */
static void reply_list(struct live_visit *v, enum err e, const char *name, const struct buf *list)
{
	if (e != OK) {
		response_fault(v->res, e);
		return;
	}
	buf_printf(&v->res->body, "{\"%s\":", name);
	buf_add(&v->res->body, list->bytes, list->len);
	buf_add_text(&v->res->body, "}");
}

void live_operator_connections(struct live_visit *v)
{
	struct parameters p = {0};

	if (may_operate(v, NULL) && read_parameters(v, &p)) {
		const struct connections_question q = {
			.user = given(&p.user),
			.topic = given(&p.topic),
			.after = given(&p.after),
			.slow = p.slow,
			.limit = p.limit,
		};
		enum err e = connection_admin_list(v->worker->db, &q, REPORT_WAIT_MS, &v->res->body);

		if (e != OK)
			response_fault(v->res, e);
	}
	parameters_free(&p);
}

void live_operator_topics(struct live_visit *v)
{
	struct buf list = BUF_EMPTY;
	struct parameters p = {0};

	if (may_operate(v, NULL) && read_parameters(v, &p))
		reply_list(v, overview_topics(v->worker->db, p.by.len > 0 ? p.by.bytes : "rate", p.limit, &list),
			   "topics", &list);
	parameters_free(&p);
	buf_free(&list);
}

void live_operator_outbox(struct live_visit *v)
{
	struct buf list = BUF_EMPTY;
	struct parameters p = {0};

	if (may_operate(v, NULL) && read_parameters(v, &p))
		reply_list(v, outbox_admin_list(v->worker->db, p.failed, p.limit, &list), "outbox", &list);
	parameters_free(&p);
	buf_free(&list);
}

/* ---- what is done */

/* The part of the path, as text, in the audit line under that key. False: *res says why not. */
static bool take_part(struct live_visit *v, struct buf *part, const char *key)
{
	struct span text = route_part(v->route, v->request);

	buf_add(part, text.bytes, text.len);
	if (!buf_ok(part)) {
		response_fault(v->res, ERR_MEMORY);
		return false;
	}
	v->audit.key = key;
	v->audit.value = part->bytes;
	return true;
}

/* One of what was given up, or "failed": all of it. */
static void order_outbox(struct live_visit *v, enum outbox_order order, const char *event, const char *status)
{
	struct buf part = BUF_EMPTY;
	int64_t done = 0;
	enum err e = OK;

	if (take_part(v, &part, "subject") && may_operate(v, event)) {
		const char *const ids[] = {part.bytes};
		bool all = strcmp(part.bytes, "failed") == 0;

		e = outbox_admin_order(v->worker->db, order, all ? NULL : ids, all ? 0 : 1, &done);
		v->audit.outcome = e == OK ? "ok" : err_text(e);
		if (e != OK) {
			response_fault(v->res, e);
		} else if (done == 0 && !all) {
			response_refuse(v->res, 404, "Nothing with this id was given up.");
			v->audit.outcome = "not_found";
		} else {
			buf_printf(&v->res->body, "{\"status\":\"%s\",\"count\":%" PRId64 "}", status, done);
		}
		audit_write(event, &v->audit);
	}
	buf_free(&part);
}

void live_operator_retry(struct live_visit *v)
{
	order_outbox(v, OUTBOX_RETRY, "manage_outbox_retry", "retrying");
}

void live_operator_drop(struct live_visit *v)
{
	order_outbox(v, OUTBOX_DROP, "manage_outbox_drop", "dropped");
}

/* Whose subscriptions end. */
struct whose {
	struct parameters parameters; /* owned: the user is in it */
	const char *user;	      /* lent by the parameters; "": whoever has no token; NULL: everybody */
};

/* False: *res says what is wrong. */
static bool read_whose(struct live_visit *v, struct whose *w)
{
	static const struct query_name names[] = {{"user", true}, {"anonymous", true}, {"everyone", true}};
	const struct request *r = v->request;
	struct problem problem = PROBLEM_NONE;
	bool anonymous = read_switch(r, "anonymous", &problem);
	bool everyone = read_switch(r, "everyone", &problem);
	struct buf *user = &w->parameters.user;

	query_check((struct span){r->query, strlen(r->query)}, names, ARRAY_LEN(names), &problem);
	read_text(r, "user", user_id_valid, "must be a user id", user, &problem);
	if (problem.status == 0 && (user->len > 0) + anonymous + everyone != 1)
		problem_add_field(&problem, "", "user", "or anonymous=1 or everyone=1: one of them is required");
	w->user = everyone ? NULL : anonymous ? "" : user->bytes;
	return is_right(v, &w->parameters, &problem);
}

static void revoke(struct live_visit *v, const char *topic, const char *user)
{
	enum err e = revocation_admin_revoke(v->worker->db, user, topic);

	v->audit.outcome = e == OK ? "ok" : err_text(e);
	v->audit.topic = topic;
	v->audit.value = user ? user : "everyone";
	audit_write("manage_revoke", &v->audit);
	if (e != OK) {
		response_fault(v->res, e);
		return;
	}
	buf_printf(&v->res->body, "{\"status\":\"revoked\",\"topic\":\"%s\",\"user_id\":", topic);
	user_id_add_json(&v->res->body, user && *user ? user : NULL);
	buf_add_text(&v->res->body, "}");
}

void live_operator_revoke(struct live_visit *v)
{
	struct buf topic = BUF_EMPTY;
	struct whose w = {0};

	if (take_part(v, &topic, "subject") && may_operate(v, "manage_revoke")) {
		if (!topic_name_valid(topic.bytes, topic.len))
			response_refuse(v->res, 404, "There is nothing at this path.");
		else if (read_whose(v, &w))
			revoke(v, topic.bytes, w.user);
	}
	parameters_free(&w.parameters);
	buf_free(&topic);
}

void live_operator_drain(struct live_visit *v)
{
	static const char event[] = "manage_drain";
	const struct buf nothing = BUF_EMPTY;
	char id[UUID_TEXT_SIZE];
	int64_t connections = 0;
	bool draining = false;
	enum err e = OK;

	if (!live_visit_read_id(v, id))
		return;
	v->audit.key = "subject";
	v->audit.value = id;
	if (!may_operate(v, event))
		return;
	e = connection_admin_drain(v->worker->db,
				   &(struct admin_request){v->caller.user_id, role_text(v->caller.role), id},
				   DRAIN_WAIT_MS, &connections, &draining);
	v->audit.outcome = "ok";
	if (e != OK) {
		live_visit_refuse(v, e, &nothing, "There is no such node.");
	} else if (!draining) {
		response_refuse(v->res, 504, "The node has not confirmed in time that it drains.");
		v->audit.outcome = "not_confirmed";
	} else {
		buf_printf(&v->res->body, "{\"status\":\"draining\",\"node\":\"%s\",\"connections\":%" PRId64 "}", id,
			   connections);
	}
	audit_write(event, &v->audit);
}
