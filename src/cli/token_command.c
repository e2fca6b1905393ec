#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/command.h"
#include "cli/report.h"
#include "cli/text/plain.h"
#include "domain/caller/user_id.h"

#define KEY_FILE_MAX 16384  /* bytes */
#define TTL_MAX_S 315360000 /* ten years */
#define TTL_DEFAULT_S 3600

#define TOKEN_MAX 16384 /* bytes, of what is read to be verified */

/* What a token is made of. */
struct token_order {
	const char *kid;      /* NULL: the default */
	const char *alg;      /* NULL: the first that fits */
	const char *key_file; /* NULL: a secret */
	int64_t ttl_s;
	struct token_claims claims; /* but expires_s, until `now` is known */
};

static enum role parse_role(const char *text)
{
	enum role role = ROLE_USER;

	while (role < ROLE_ADMIN && strcmp(text, role_text(role)) != 0)
		role++;
	return role;
}

static bool read_order(const struct arguments *a, struct token_order *order)
{
	const char *user = arguments_value(a, "user"), *role = arguments_value(a, "role");

	*order = (struct token_order){.kid = arguments_value(a, "kid"),
				      .alg = arguments_value(a, "alg"),
				      .key_file = arguments_value(a, "key"),
				      .ttl_s = TTL_DEFAULT_S};
	if (!user) {
		complain("whom is it for? --user ID; or --verify one that is there");
		return false;
	}
	if (!user_id_valid(user, strlen(user))) {
		complain("--user must be 1 to %d bytes of UTF-8 without control characters", USER_ID_MAX);
		return false;
	}
	memcpy(order->claims.user_id, user, strlen(user) + 1);
	order->claims.role = parse_role(role ? role : "user"); /* the table has let no other word in */
	return arguments_number(a, "ttl", 1, TTL_MAX_S, &order->ttl_s);
}

/* {"user_id":…,"role":…,"expires_in":…}, with the token where it is made. */
static int tell_json(const struct token_claims *claims, int64_t now_s, const struct buf *token)
{
	struct buf json = BUF_EMPTY;
	int status = EXIT_DONE;

	buf_add_text(&json, "{");
	if (token)
		buf_printf(&json, "\"token\":\"%s\",", token->bytes);
	buf_add_text(&json, "\"user_id\":");
	user_id_add_json(&json, claims->user_id);
	buf_printf(&json, ",\"role\":\"%s\",\"expires_in\":", role_text(claims->role));
	if (claims->expires_s > 0)
		buf_printf(&json, "%" PRId64 "}", claims->expires_s - now_s);
	else
		buf_add_text(&json, "null}");
	status = report_json(&json);
	if (json.bytes)
		explicit_bzero(json.bytes, json.len);
	buf_free(&json);
	return status;
}

static int print_token(const struct arguments *arguments, const struct token_order *a, const struct token_keys *keys,
		       const char *private_key_pem)
{
	struct token_claims claims = a->claims;
	struct buf token = BUF_EMPTY;
	int64_t now_s = clock_wall_us() / 1000000;
	int status = EXIT_FAILED;
	enum err e = OK;

	claims.expires_s = now_s + a->ttl_s;
	e = token_make(keys, a->kid, a->alg, private_key_pem, &claims, now_s, &token);
	if (e == OK && arguments->json)
		status = tell_json(&claims, now_s, &token);
	else if (e == OK)
		status = puts(token.bytes) < 0;
	else if (e == ERR_NOT_FOUND)
		complain("there is no secret %s in TIDINGS_JWT_KEYS to sign with; --key takes a private key",
			 a->kid ? a->kid : "default");
	else if (e == ERR_CONFIG)
		complain("TIDINGS_JWT_ROLES has no name for the role %s", role_text(claims.role));
	else if (e == ERR_INPUT && private_key_pem)
		complain("%s is not a private key in PEM for %s", a->key_file,
			 a->alg ? a->alg : "TIDINGS_JWT_ALGORITHMS");
	else
		complain("the token could not be made: %s", err_text(e));
	buf_free(&token);
	return status;
}

static int make(const struct arguments *arguments, const struct token_order *a, const struct token_keys *keys)
{
	struct buf private_key = BUF_EMPTY;
	int status = EXIT_FAILED;
	enum err e = a->key_file ? file_read(a->key_file, KEY_FILE_MAX, true, &private_key) : OK;

	if (e == OK)
		status = print_token(arguments, a, keys, private_key.bytes);
	else
		complain("the private key %s cannot be used: %s", a->key_file,
			 e == ERR_SYSTEM      ? strerror(errno)
			 : e == ERR_FORBIDDEN ? "every user of this machine can read it"
					      : err_text(e));
	if (private_key.bytes)
		explicit_bzero(private_key.bytes, private_key.size);
	buf_free(&private_key);
	return status;
}

static int tell_good(const struct token_claims *claims, int64_t now_s)
{
	struct buf line = BUF_EMPTY;
	int status = EXIT_FAILED;

	buf_add_text(&line, "good: user ");
	plain_add(&line, (struct span){claims->user_id, strlen(claims->user_id)});
	buf_printf(&line, ", role %s, for ", role_text(claims->role));
	if (claims->expires_s > 0)
		buf_printf(&line, "%" PRId64 " s", claims->expires_s - now_s);
	else
		buf_add_text(&line, "ever");
	if (buf_ok(&line) && puts(line.bytes) >= 0)
		status = EXIT_DONE;
	buf_free(&line);
	return status;
}

/* It comes by stdin: what stands in a command line is read by every user of the machine. */
static int verify(const struct arguments *a, struct token_keys *keys)
{
	const struct token_fault *fault = NULL;
	struct token_claims claims;
	struct buf token = BUF_EMPTY;
	int64_t now_s = clock_wall_us() / 1000000;
	int status = EXIT_FAILED;
	enum err e = command_read_input("-", TOKEN_MAX, &token);

	if (e == OK) {
		while (token.len > 0 && strchr(" \r\n", token.bytes[token.len - 1]))
			buf_cut(&token, token.len - 1);
		e = token_verify(keys, token.len > 0 ? token.bytes : "", token.len, now_s, &claims, &fault);
		if (e == OK && a->json)
			status = tell_json(&claims, now_s, NULL);
		else if (e == OK)
			status = tell_good(&claims, now_s);
		else
			complain("the token is refused: %s", fault ? fault->why : err_text(e));
	}
	if (token.bytes)
		explicit_bzero(token.bytes, token.size);
	buf_free(&token);
	return status;
}

int token_command(const struct arguments *a)
{
	bool verifies = arguments_value(a, "verify");
	struct token_order order;
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;
	struct token_rules rules;
	struct config config;
	int status = EXIT_FAILED;

	if (!verifies && !read_order(a, &order))
		return EXIT_WRONG;
	read_config(&config);
	rules = token_rules_of(&config);
	if (token_keys_load(&keys, config.jwt_keys, &rules, &problem) != OK)
		complain("%s", buf_ok(&problem) && problem.len > 0 ? problem.bytes : err_text(ERR_MEMORY));
	else
		status = verifies ? verify(a, keys) : make(a, &order, keys);
	token_keys_free(&keys);
	buf_free(&problem);
	return status;
}
