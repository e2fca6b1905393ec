/*
 * own_token - a token that the command makes for a request of its own.
 *
 * Layer    cli.
 */
#pragma once

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "domain/caller/token.h"

/*
 * With the secret `default`; appended to `token`.
 *
 * ERR_NOT_FOUND  there is none
 * ERR_CONFIG, ERR_MEMORY  as token_make()
 */
enum err own_token_make(const struct token_keys *keys, enum role role, int64_t ttl_s, struct buf *token) MUST_CHECK;

/* Frees it, and leaves nothing of it in memory. */
void own_token_forget(struct buf *token);
