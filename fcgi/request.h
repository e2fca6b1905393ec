/*
 * request - one HTTP request, as FastCGI hands it over.
 *
 * Layer    fcgi.
 * Threads  the worker's that accepted it.
 * Memory   everything is lent by the request, until its reply is sent.
 */
#pragma once

#include <fcgiapp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/log/log.h"
#include "base/net/address.h"
#include "base/process/config.h"
#include "domain/caller/user_id.h"
#include "domain/http/problem.h"
#include "domain/http/request_id.h"

#define REQUEST_PATH_MAX 512 /* bytes; no route is nearly as long */

/* What its lines in the log are about: its user only once the token was checked. */
struct request_subject {
	struct log_subject subject;
	char user_id[USER_ID_MAX + 1];
};

struct request {
	FCGX_Request *fcgi; /* borrowed */
	const char *method;
	char path[REQUEST_PATH_MAX + 1];     /* decoded; "" when it is malformed or longer, which is no route */
	const char *query;		     /* as it came; "" when there is none */
	const char *origin;		     /* whose page may read the reply; NULL: none to name */
	char request_id[REQUEST_ID_MAX + 1]; /* that it brought, or was given; goes back in the reply */
	char trace_id[TRACE_ID_SIZE];
	char client[ADDRESS_TEXT_SIZE]; /* behind proxies that are trusted; "" where the web server tells none */
	struct request_subject *about;	/* lent */
};

/*
 * Fills *r from what was accepted.
 *
 *	about	lent, for as long as it lives
 *
 * ERR_MEMORY  all but its path
 */
enum err request_init(struct request *r, FCGX_Request *fcgi, const struct config *c,
		      struct request_subject *about) MUST_CHECK;

/* Whose it is. */
void request_set_user(const struct request *r, const char *user_id);

/* A CGI variable or header ("HTTP_AUTHORIZATION"); NULL: not there. */
const char *request_param(const struct request *r, const char *name);

bool request_is_head(const struct request *r);

/* A browser asks before it sends what a plain page could not (the Fetch standard, CORS-preflight request). */
bool request_is_preflight(const struct request *r);

/* Appends the decoded value of a query parameter, its first when there are several. False: not there, or malformed. */
bool request_query(const struct request *r, const char *name, struct buf *value);

/* The token: of `Authorization: Bearer …`, else of ?token=. Appends it; false: there is none. */
bool request_token(const struct request *r, struct buf *token);

/*
 * Idempotency-Key.
 *
 *	key	out: lent by the request; NULL: none
 *	problem	what is wrong with the key is added, unless the problem is a 400
 */
void request_idempotency_key(const struct request *r, const char **key, struct problem *problem);

/* Appends what must be the same when the key is: path and body. */
void request_fingerprint(const struct request *r, const struct buf *body, struct buf *out);

/* True: Content-Type is application/json, whatever its parameters. */
bool request_is_json(const struct request *r);

/* True: the body is compressed, or encoded in another way (Content-Encoding). */
bool request_is_encoded(const struct request *r);

/* ERR_NOT_FOUND  Content-Length is missing or no number */
enum err request_length(const struct request *r, uint64_t *len) MUST_CHECK;

/* Appends the body, of which Content-Length said `len`. ERR_INPUT  it ended early; ERR_MEMORY */
enum err request_body(const struct request *r, size_t len, struct buf *body) MUST_CHECK;
