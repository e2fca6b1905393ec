#include "fcgi/programs/status_metrics.h"

#include <string.h>

#include "base/net/address.h"
#include "domain/http/header_list.h"
#include "fcgi/metrics/program_metrics.h"
#include "store/request/status.h"

/* The web server's own client is of this machine, and not a proxy that sends it for somebody. */
static bool is_local(const struct request *r)
{
	static const char *const forwarded[] = {"HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA"};
	const char *text = request_param(r, "REMOTE_ADDR");
	struct address address;

	for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
		if (request_param(r, forwarded[i]))
			return false;
	return text && address_parse(&address, (struct span){text, strlen(text)}) && address_is_loopback(&address);
}

/* False: *res says why not. */
static bool may_see(const struct db_worker *worker, const struct request *r, struct response *res)
{
	struct token_claims caller;

	switch ((enum metrics_access)worker->config->metrics) {
	case METRICS_OFF:
		response_refuse(res, 404, "There is nothing at this path.");
		return false;
	case METRICS_TOKEN:
		if (auth_check(worker->auth, r, &caller, res) != OK)
			return false;
		if (caller.role == ROLE_ADMIN)
			return true;
		response_refuse(res, 403, "Only administrators may see the metrics.");
		return false;
	case METRICS_LOCAL:
		break;
	}
	if (is_local(r))
		return true;
	response_refuse(res, 403, METRICS_LOCAL_ONLY);
	return false;
}

static enum metrics_format wanted_format(const struct request *r)
{
	const char *accept = request_param(r, "HTTP_ACCEPT");
	struct header_list list = {0};

	if (accept && header_list_add(&list, (struct span){accept, strlen(accept)}) &&
	    header_list_accepts(list, OPENMETRICS_MEDIA_TYPE))
		return METRICS_OPENMETRICS;
	return METRICS_TEXT;
}

/* What the database does not say in time is left out: what is counted here is told all the same. */
void status_metrics_serve(struct db_worker *worker, const struct request *r, struct response *res)
{
	struct buf lines = BUF_EMPTY;
	enum metrics_format format = wanted_format(r);

	if (!may_see(worker, r, res))
		return;
	res->type = metrics_type(format);
	program_metrics_write(&res->body, worker->config, worker->metrics, "status", format);
	if (status_metrics(worker->shared, &lines) == OK)
		queue_metrics_write(&res->body, (struct span){lines.bytes, lines.len}, format);
	metrics_write_end(&res->body, format);
	buf_free(&lines);
}
