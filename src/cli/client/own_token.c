#include "cli/client/own_token.h"

#include <string.h>

#include "base/clock.h"
#include "cli/command.h"

enum err own_token_make(const struct token_keys *keys, enum role role, int64_t ttl_s, struct buf *token)
{
	int64_t now_s = clock_wall_us() / 1000000;
	struct token_claims claims = {.user_id = COMMAND_USER, .role = role, .expires_s = now_s + ttl_s};

	return token_make(keys, NULL, NULL, NULL, &claims, now_s, token);
}

void own_token_forget(struct buf *token)
{
	if (token->bytes)
		explicit_bzero(token->bytes, token->size);
	buf_free(token);
}
