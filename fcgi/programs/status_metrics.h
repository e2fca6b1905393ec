/*
 * status_metrics - GET /metrics through the web server: what the FastCGI programs of this machine count, and what the
 * database says of the queue, to whom TIDINGS_METRICS says.
 *
 * Layer    fcgi.
 */
#pragma once

#include "fcgi/db_workers.h"
#include "fcgi/request.h"
#include "fcgi/response.h"

/*
 *	worker	its `shared` is a struct status
 */
void status_metrics_serve(struct db_worker *worker, const struct request *r, struct response *res);
