#include "fcgi/live/live_act.h"

#include "fcgi/request_limits.h"

bool live_act_read(struct live_visit *v, struct live_act *a, enum err e, struct client_fault *fault)
{
	request_idempotency_key(v->request, &a->key, &fault->problem);
	if (e != OK && e != ERR_INPUT)
		response_fault(v->res, e);
	else if (fault->problem.status != 0)
		response_problem(v->res, &fault->problem);
	else
		v->audit.type = client_type_text(a->message.type);
	problem_free(&fault->problem);
	return v->res->status == 200;
}

bool live_act_carry_out(struct live_visit *v, struct live_act *a)
{
	const struct act act = {
		.user_id = v->caller.user_id,
		.role = role_text(v->caller.role),
		.type = client_type_text(a->message.type),
		.data = a->message.data.bytes,
		.correlation = a->message.correlation_id.bytes,
		.queue_max = v->worker->config->queue_max,
		.queue_min_age_s = v->worker->config->queue_min_age_s,
		.require_user = v->worker->config->require_user,
		.daily_max_kib = v->worker->config->user_daily_max_kib,
		.predictions = v->worker->config->predictions,
	};
	struct buf fingerprint = BUF_EMPTY;
	enum err e = ERR_MEMORY;

	if (a->key)
		request_fingerprint(v->request, &a->body, &fingerprint);
	if (buf_ok(&fingerprint))
		e = act_run(v->worker->db, &act, a->key, (struct span){fingerprint.bytes, fingerprint.len}, &a->result);
	buf_free(&fingerprint);
	if (e == OK)
		request_limits_charge(v->worker->shared, &v->caller, act_cost(a->result.size));
	if (e == OK)
		e = a->result.outcome;
	if (e != OK) {
		live_visit_refuse(v, e, &a->result.detail, client_type_missing(a->message.type));
		return false;
	}
	v->audit.outcome = "ok";
	v->audit.topic = a->result.topic[0] ? a->result.topic : NULL;
	v->audit.seq = a->result.seq;
	return true;
}

void live_act_free(struct live_act *a)
{
	client_message_free(&a->message);
	act_result_free(&a->result);
	buf_free(&a->body);
}
