#include "domain/token.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <json-c/json.h>
#include <jwt.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "domain/json.h"
#include "domain/memo.h"

#define TOKEN_MAX 8192	   /* bytes: what a web server passes in a header line */
#define KID_MAX 64	   /* bytes */
#define ALG_MAX 5	   /* bytes: every algorithm is two letters and three digits */
#define KEY_FILE_MAX 16384 /* bytes */
#define RSA_BITS_MIN 2048  /* RFC 7518 3.3 */
#define KID_DEFAULT "default"
#define KID_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
#define SECONDS_MAX ((int64_t)1 << 53) /* a JSON number is exact up to there */

struct key {
	char kid[KID_MAX + 1];
	char alg[ALG_MAX + 1];
	struct buf material; /* the HS secret, or a public key in PEM */
};

struct token_keys {
	struct token_rules rules;
	struct key *keys;
	size_t count;
	struct memo *good; /* owned: the claims of tokens that these keys have verified; NULL: not remembered */
};

const char *role_text(enum role r)
{
	switch (r) {
	case ROLE_USER:
		return "user";
	case ROLE_CLINICIAN:
		return "clinician";
	case ROLE_SERVICE:
		return "service";
	case ROLE_ADMIN:
		return "admin";
	}
	return "user";
}

static bool is_hmac(const char *alg)
{
	return strncmp(alg, "HS", 2) == 0;
}

/* The libjwt algorithm of exactly this name: its own lookup takes any case, and knows "none". */
static jwt_alg_t algorithm(const char *alg)
{
	jwt_alg_t found = jwt_str_alg(alg);
	const char *name = found == JWT_ALG_INVAL || found == JWT_ALG_NONE ? NULL : jwt_alg_str(found);

	return name && strlen(alg) == ALG_MAX && strcmp(name, alg) == 0 ? found : JWT_ALG_INVAL;
}

/*
 * The next of a list like "HS256, RS256"; false at its end. An empty or too long one is "".
 *
 *	list	in, out: what is left
 */
static bool next_algorithm(const char **list, char alg[ALG_MAX + 1])
{
	const char *start = *list;
	size_t len = 0;

	if (!start)
		return false;
	start += strspn(start, " ");
	len = strcspn(start, ",");
	*list = start[len] == ',' ? start + len + 1 : NULL;
	while (len > 0 && start[len - 1] == ' ')
		len--;
	if (len > ALG_MAX)
		len = 0;
	memcpy(alg, start, len);
	alg[len] = '\0';
	return true;
}

static bool algorithm_listed(const struct token_rules *rules, const char *alg)
{
	const char *list = rules->algorithms;
	char listed[ALG_MAX + 1];

	while (next_algorithm(&list, listed))
		if (strcmp(listed, alg) == 0)
			return true;
	return false;
}

/* --- keys --- */

/* Whether a key is of the family, size and curve that `alg` names (RFC 7518 3.1). */
static bool fits(const EVP_PKEY *key, const char *alg)
{
	static const struct {
		const char *alg;
		const char *curve;
	} curves[] = {{"ES256", SN_X9_62_prime256v1}, {"ES384", SN_secp384r1}, {"ES512", SN_secp521r1}};
	char curve[32] = "";

	if (strncmp(alg, "ES", 2) != 0)
		return !is_hmac(alg) && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA &&
		       EVP_PKEY_get_bits(key) >= RSA_BITS_MIN;
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC || !EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(curves); i++)
		if (strcmp(curves[i].alg, alg) == 0)
			return strcmp(curves[i].curve, curve) == 0;
	return false;
}

static int no_password(char *buffer, int size, int writing, void *arg)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)arg;
	return -1; /* else OpenSSL asks on the terminal */
}

/* NULL: not one. */
static EVP_PKEY *parse_pem(const char *pem, size_t len, bool private)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	EVP_PKEY *key = NULL;

	if (!bio)
		return NULL;
	key = private ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL)
		      : PEM_read_bio_PUBKEY(bio, NULL, no_password, NULL);
	BIO_free(bio);
	return key;
}

static size_t hash_bytes(const char *alg)
{
	return strtoul(alg + 2, NULL, 10) / 8;
}

/* NULL: good; else what is wrong with it. */
static const char *judge_material(struct key *k)
{
	struct buf *m = &k->material;
	EVP_PKEY *key = NULL;
	bool good = false;

	if (is_hmac(k->alg)) {
		if (m->len > 0 && m->bytes[m->len - 1] == '\n')
			m->bytes[--m->len] = '\0';
		if (m->len < hash_bytes(k->alg))
			return "is too short for its algorithm";
		/* A public key is no secret: whoever has it could sign. */
		if (memmem(m->bytes, m->len, "-----BEGIN ", 11))
			return "is a PEM file, where a secret of random bytes is expected";
		return NULL;
	}
	key = parse_pem(m->bytes, m->len, false);
	good = key && fits(key, k->alg);
	EVP_PKEY_free(key);
	return good ? NULL : "is not a public key in PEM for its algorithm";
}

static enum err parse_file_name(const char *name, struct key *k)
{
	size_t kid_len = strspn(name, KID_CHARS);
	const char *alg = name + kid_len + 1;

	if (kid_len == 0 || kid_len > KID_MAX || name[kid_len] != '.' || algorithm(alg) == JWT_ALG_INVAL)
		return ERR_CONFIG;
	memcpy(k->kid, name, kid_len);
	k->kid[kid_len] = '\0';
	memcpy(k->alg, alg, ALG_MAX + 1);
	return OK;
}

static void key_clean(struct key *k)
{
	if (k->material.bytes)
		explicit_bzero(k->material.bytes, k->material.size);
	buf_free(&k->material);
}

static const char *file_fault(enum err e)
{
	if (e == ERR_FORBIDDEN)
		return "can be read or written by every user of this machine";
	return e == ERR_TOO_LARGE ? "is too large for a key" : "cannot be read";
}

static enum err add_key(struct token_keys *keys, const char *directory, const char *name, struct buf *problem)
{
	struct key k = {0};
	struct key *more = NULL;
	struct buf path = BUF_EMPTY;
	const char *fault = NULL;
	enum err e = ERR_CONFIG;

	buf_printf(&path, "%s/%s", directory, name);
	if (!buf_ok(&path))
		return ERR_MEMORY;
	if (parse_file_name(name, &k) != OK) {
		buf_printf(problem, "%s is not named <kid>.<ALG>, as in default.HS256", path.bytes);
		goto out;
	}
	if (!algorithm_listed(&keys->rules, k.alg)) {
		buf_printf(problem, "%s is for an algorithm that TIDINGS_JWT_ALGORITHMS does not list", path.bytes);
		goto out;
	}
	e = file_read(path.bytes, KEY_FILE_MAX, is_hmac(k.alg), &k.material);
	if (e == ERR_MEMORY)
		goto out;
	fault = e == OK ? judge_material(&k) : file_fault(e);
	e = ERR_CONFIG;
	if (fault) {
		buf_printf(problem, "%s %s", path.bytes, fault);
		goto out;
	}
	more = reallocarray(keys->keys, keys->count + 1, sizeof(*more));
	if (!more) {
		e = ERR_MEMORY;
		goto out;
	}
	keys->keys = more;
	keys->keys[keys->count++] = k;
	k = (struct key){0}; /* taken */
	e = OK;
out:
	key_clean(&k);
	buf_free(&path);
	return e;
}

static enum err judge_rules(const struct token_rules *rules, struct buf *problem)
{
	const char *list = rules->algorithms;
	char alg[ALG_MAX + 1];

	while (next_algorithm(&list, alg)) {
		if (algorithm(alg) != JWT_ALG_INVAL)
			continue;
		buf_printf(problem, "TIDINGS_JWT_ALGORITHMS lists what this libjwt has no signature for: %s",
			   rules->algorithms);
		return ERR_CONFIG;
	}
	return OK;
}

enum err token_keys_load(struct token_keys **out, const char *directory, const struct token_rules *rules,
			 struct buf *problem)
{
	struct token_keys *keys = NULL;
	const struct dirent *entry = NULL;
	DIR *dir = NULL;
	enum err e = judge_rules(rules, problem);

	*out = NULL;
	if (e != OK)
		return e;
	keys = calloc(1, sizeof(*keys));
	if (!keys)
		return ERR_MEMORY;
	keys->rules = *rules;
	dir = opendir(directory);
	if (!dir) {
		buf_printf(problem, "the folder of keys %s, named by TIDINGS_JWT_KEYS, cannot be read: %s", directory,
			   strerror(errno));
		e = ERR_CONFIG;
		goto out;
	}
	while (e == OK && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			e = add_key(keys, directory, entry->d_name, problem);
	if (e == OK && keys->count == 0) {
		buf_printf(problem, "the folder of keys %s, named by TIDINGS_JWT_KEYS, has no key in it", directory);
		e = ERR_CONFIG;
	}
out:
	if (dir)
		closedir(dir);
	if (e != OK)
		token_keys_free(&keys);
	*out = keys;
	return e;
}

void token_keys_free(struct token_keys **out)
{
	struct token_keys *keys = *out;

	if (!keys)
		return;
	for (size_t i = 0; i < keys->count; i++)
		key_clean(&keys->keys[i]);
	free(keys->keys);
	memo_free(&keys->good);
	free(keys);
	*out = NULL;
}

enum err token_keys_remember(struct token_keys *keys, size_t tokens_max)
{
	return memo_new(&keys->good, sizeof(struct token_claims), tokens_max);
}

static const struct key *find_key(const struct token_keys *keys, const char *kid, const char *alg)
{
	for (size_t i = 0; i < keys->count; i++)
		if (strcmp(keys->keys[i].kid, kid) == 0 && strcmp(keys->keys[i].alg, alg) == 0)
			return &keys->keys[i];
	return NULL;
}

/* --- verification --- */

static int base64url_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* RFC 4648 section 5, without padding. Returns how many bytes, 0 when it is not that or does not fit. */
static size_t base64url_decode(char *out, size_t size, const char *text, size_t len)
{
	uint32_t bits = 0;
	size_t used = 0;

	if (len % 4 == 1 || len / 4 * 3 + 2 >= size)
		return 0;
	for (size_t i = 0; i < len; i++) {
		int value = base64url_value(text[i]);

		if (value < 0)
			return 0;
		bits = bits << 6 | (uint32_t)value;
		if (i % 4 != 0)
			out[used++] = (char)(bits >> (6 - 2 * (i % 4)));
	}
	out[used] = '\0';
	return used;
}

/* Three parts in base64url, none empty: an unsecured token has no third. The first two: borrowed from `jwt`. */
static bool split(const char *jwt, size_t len, struct span *header, struct span *payload)
{
	size_t starts[3] = {0};
	size_t part = 0;

	for (size_t i = 0; i < len; i++) {
		if (base64url_value(jwt[i]) >= 0)
			continue;
		if (jwt[i] != '.' || i == starts[part] || part == 2)
			return false;
		starts[++part] = i + 1;
	}
	*header = (struct span){jwt, starts[1] - 1};
	*payload = (struct span){jwt + starts[1], starts[2] - starts[1] - 1};
	return part == 2 && starts[2] < len;
}

/* NULL: not a JSON object. */
static json_object *parse_object(const char *text, size_t len)
{
	json_object *object = NULL;
	const char *problem = NULL;

	if (json_read(&object, text, len, &problem) != OK)
		return NULL;
	if (json_object_is_type(object, json_type_object))
		return object;
	json_object_put(object);
	return NULL;
}

/* NULL: not a text. Lent, valid as long as the object; json_read() has let no NUL in. */
static const char *text_of(json_object *value)
{
	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

/* NULL: refused, and *why says it. */
static const struct key *key_of_header(const struct token_keys *keys, json_object *header, const char **why)
{
	const char *kid = KID_DEFAULT;
	const char *alg = text_of(json_object_object_get(header, "alg"));
	const struct key *k = NULL;
	json_object *value = NULL;

	if (!alg) {
		*why = "no alg";
		return NULL;
	}
	if (json_object_object_get_ex(header, "crit", NULL)) {
		*why = "critical header that we do not know"; /* RFC 7515 4.1.11 */
		return NULL;
	}
	if (json_object_object_get_ex(header, "kid", &value)) {
		kid = text_of(value);
		if (!kid || strlen(kid) > KID_MAX || kid[strspn(kid, KID_CHARS)] != '\0') {
			*why = "malformed kid";
			return NULL;
		}
	}
	if (algorithm(alg) == JWT_ALG_INVAL || !algorithm_listed(&keys->rules, alg)) {
		*why = "algorithm not allowed";
		return NULL;
	}
	k = find_key(keys, kid, alg);
	if (!k)
		*why = "no key of that kid and algorithm";
	return k;
}

/* Whether libjwt accepts the signature, with the one key and the one algorithm that it may. */
static bool signature_good(const struct key *k, const char *jwt)
{
	jwt_t *decoded = NULL;
	bool good = jwt_decode(&decoded, jwt, (const unsigned char *)k->material.bytes, (int)k->material.len) == 0;

	/* libjwt has chosen by the token's header: believe it only if that is what our key is for. */
	good = good && jwt_get_alg(decoded) == algorithm(k->alg);
	jwt_free(decoded);
	return good;
}

/* One base64url part of a token, as a JSON object; NULL: it is none. */
static json_object *parse_part(const char *part, size_t len)
{
	char text[TOKEN_MAX];
	size_t text_len = base64url_decode(text, sizeof(text), part, len);

	return text_len > 0 ? parse_object(text, text_len) : NULL;
}

/*
 * Seconds since 1970 of a NumericDate, which may have a fraction (RFC 7519 section 2).
 *
 *	found	out: whether it is there
 *
 * False: there, but no usable number.
 */
static bool date_of(json_object *payload, const char *name, bool round_up, bool *found, int64_t *seconds)
{
	json_object *value = NULL;
	double number = 0;

	*found = json_object_object_get_ex(payload, name, &value);
	if (!*found)
		return true;
	if (json_object_is_type(value, json_type_int)) {
		*seconds = json_object_get_int64(value);
	} else if (json_object_is_type(value, json_type_double)) {
		number = json_object_get_double(value);
		if (!(number >= 0 && number <= (double)SECONDS_MAX)) /* a NaN is neither */
			return false;
		*seconds = (int64_t)number;
		*seconds += round_up && (double)*seconds < number;
	} else {
		return false;
	}
	return *seconds >= 0 && *seconds <= SECONDS_MAX;
}

static const char *judge_dates(const struct token_rules *rules, json_object *payload, int64_t now_s, int64_t *expires_s)
{
	int64_t seconds = 0;
	bool found = false;

	*expires_s = 0;
	if (!date_of(payload, "exp", false, &found, &seconds))
		return "malformed exp";
	if (!found && rules->require_exp)
		return "no exp";
	if (found) {
		if (now_s >= seconds + rules->leeway_s)
			return "expired";
		*expires_s = seconds + rules->leeway_s;
	}
	if (!date_of(payload, "nbf", true, &found, &seconds))
		return "malformed nbf";
	if (found && now_s + rules->leeway_s < seconds)
		return "not valid yet";
	return NULL;
}

/* Whether a text, or an array of texts, is or has `wanted`. */
static bool has_text(json_object *value, const char *wanted)
{
	const char *text = text_of(value);

	if (text)
		return strcmp(text, wanted) == 0;
	if (!json_object_is_type(value, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		text = text_of(json_object_array_get_idx(value, i));
		if (text && strcmp(text, wanted) == 0)
			return true;
	}
	return false;
}

static enum role role_of(json_object *payload)
{
	json_object *one = json_object_object_get(payload, "role");
	json_object *several = json_object_object_get(payload, "roles");

	for (int r = ROLE_ADMIN; r > ROLE_USER; r--)
		if (has_text(one, role_text((enum role)r)) || has_text(several, role_text((enum role)r)))
			return (enum role)r;
	return ROLE_USER;
}

static const char *judge_subject(json_object *payload, char user_id[USER_ID_MAX + 1])
{
	json_object *value = NULL;
	const char *text = NULL;

	if (!json_object_object_get_ex(payload, "sub", &value))
		return "no sub";
	if (json_object_is_type(value, json_type_int)) {
		snprintf(user_id, USER_ID_MAX + 1, "%s", json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
		return NULL;
	}
	text = text_of(value);
	if (!text || !user_id_valid(text, strlen(text)))
		return "malformed sub";
	memcpy(user_id, text, strlen(text) + 1);
	return NULL;
}

/* NULL: good. */
static const char *judge_claims(const struct token_rules *rules, json_object *payload, int64_t now_s,
				struct token_claims *claims)
{
	const char *why = judge_dates(rules, payload, now_s, &claims->expires_s);
	const char *issuer = text_of(json_object_object_get(payload, "iss"));

	if (why)
		return why;
	if (rules->issuer && (!issuer || strcmp(issuer, rules->issuer) != 0))
		return "wrong iss";
	if (rules->audience && !has_text(json_object_object_get(payload, "aud"), rules->audience))
		return "wrong aud";
	claims->role = role_of(payload);
	return judge_subject(payload, claims->user_id);
}

static enum err verify(const struct token_keys *keys, const char *jwt, size_t len, int64_t now_s,
		       struct token_claims *claims, const char **why)
{
	char copy[TOKEN_MAX + 1]; /* libjwt wants a NUL */
	struct token_claims judged = {0};
	const struct key *k = NULL;
	json_object *object = NULL;
	struct span header = {0};
	struct span payload = {0};

	if (split(jwt, len, &header, &payload))
		object = parse_part(header.bytes, header.len);
	if (!object) {
		*why = "malformed";
		return ERR_UNAUTHORIZED;
	}
	k = key_of_header(keys, object, why);
	json_object_put(object);
	if (!k)
		return ERR_UNAUTHORIZED;
	memcpy(copy, jwt, len);
	copy[len] = '\0';
	if (!signature_good(k, copy)) {
		*why = "bad signature";
		return ERR_UNAUTHORIZED;
	}
	object = parse_part(payload.bytes, payload.len);
	*why = object ? judge_claims(&keys->rules, object, now_s, &judged) : "malformed payload";
	json_object_put(object);
	if (*why)
		return ERR_UNAUTHORIZED;
	*claims = judged;
	return OK;
}

enum err token_verify(const struct token_keys *keys, const char *jwt, size_t len, int64_t now_s,
		      struct token_claims *claims, const char **why)
{
	const struct token_claims *known = NULL;
	enum err e;

	*why = NULL;
	if (len > TOKEN_MAX) {
		*why = "too long";
		return ERR_UNAUTHORIZED;
	}
	if (keys->good)
		known = memo_find(keys->good, (struct span){jwt, len});
	/* Of what was verified, only its end comes by itself. */
	if (known && (known->expires_s == 0 || now_s < known->expires_s)) {
		*claims = *known;
		return OK;
	}
	e = verify(keys, jwt, len, now_s, claims, why);
	if (e == OK && keys->good)
		memo_keep(keys->good, (struct span){jwt, len}, claims);
	return e;
}

/* --- making --- */

/* What to sign with, and how. */
struct signer {
	char alg[ALG_MAX + 1];
	const unsigned char *bytes; /* borrowed */
	size_t len;
};

static enum err choose_signer(const struct token_keys *keys, const char *kid, const char *wanted,
			      const char *private_key_pem, struct signer *s)
{
	const char *list = wanted ? wanted : keys->rules.algorithms;
	EVP_PKEY *private_key = NULL;
	enum err e = private_key_pem ? ERR_INPUT : ERR_NOT_FOUND;

	if (private_key_pem)
		private_key = parse_pem(private_key_pem, strlen(private_key_pem), true);
	while (e != OK && next_algorithm(&list, s->alg)) {
		const struct key *k = is_hmac(s->alg) ? find_key(keys, kid, s->alg) : NULL;

		if (private_key && fits(private_key, s->alg)) {
			s->bytes = (const unsigned char *)private_key_pem;
			s->len = strlen(private_key_pem);
			e = OK;
		} else if (!private_key_pem && k) {
			s->bytes = (const unsigned char *)k->material.bytes;
			s->len = k->material.len;
			e = OK;
		}
	}
	EVP_PKEY_free(private_key);
	return e;
}

static bool set_claims(jwt_t *jwt, const struct token_rules *rules, const struct token_claims *claims, int64_t now_s)
{
	if (jwt_add_grant(jwt, "sub", claims->user_id) != 0 ||
	    jwt_add_grant(jwt, "role", role_text(claims->role)) != 0 || jwt_add_grant_int(jwt, "iat", now_s) != 0)
		return false;
	if (claims->expires_s != 0 && jwt_add_grant_int(jwt, "exp", claims->expires_s) != 0)
		return false;
	if (rules->issuer && jwt_add_grant(jwt, "iss", rules->issuer) != 0)
		return false;
	return !rules->audience || jwt_add_grant(jwt, "aud", rules->audience) == 0;
}

enum err token_make(const struct token_keys *keys, const char *kid, const char *alg, const char *private_key_pem,
		    const struct token_claims *claims, int64_t now_s, struct buf *out)
{
	struct signer signer = {0};
	jwt_t *jwt = NULL;
	char *text = NULL;
	enum err e = choose_signer(keys, kid ? kid : KID_DEFAULT, alg, private_key_pem, &signer);

	if (e != OK)
		return e;
	if (algorithm(signer.alg) == JWT_ALG_INVAL)
		return ERR_INPUT;
	if (jwt_new(&jwt) != 0)
		return ERR_MEMORY;
	e = ERR_INPUT;
	if (kid && jwt_add_header(jwt, "kid", kid) != 0)
		goto out;
	if (!set_claims(jwt, &keys->rules, claims, now_s))
		goto out;
	if (jwt_set_alg(jwt, algorithm(signer.alg), signer.bytes, (int)signer.len) != 0)
		goto out;
	text = jwt_encode_str(jwt);
	if (!text)
		goto out;
	buf_add_text(out, text);
	e = buf_ok(out) ? OK : ERR_MEMORY;
out:
	free(text);
	jwt_free(jwt);
	return e;
}
