/*
 * encode_http - the head of an HTTP reply, and whole ones: for event streams and polls (spec section 5).
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/session.h"

/*
 *	length	of the body; SIZE_MAX: nobody knows yet
 */
void encode_http_head(struct buf *out, const struct session *s, int status, const char *type, size_t length);

/* A whole reply; frees its body. */
void encode_http_reply(struct buf *out, const struct session *s, int status, const char *type, struct buf *body);

/* A session that ends before its reply has begun: why. */
void encode_http_problem(struct buf *out, const struct session *s);
