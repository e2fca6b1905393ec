#include "domain/caller/key_ring.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define ALG_MAX SIGNATURE_ALG_MAX
#define KEY_FILE_MAX 16384 /* bytes */
#define RSA_BITS_MIN 2048  /* RFC 7518 3.3 */
#define KID_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

struct key_ring {
	const char *algorithms; /* borrowed */
	struct key *keys;
	size_t count;
};

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

bool key_ring_lists(const struct key_ring *ring, const char *alg)
{
	const char *list = ring->algorithms;
	char listed[ALG_MAX + 1];

	while (next_algorithm(&list, listed))
		if (strcmp(listed, alg) == 0)
			return true;
	return false;
}

/* Whether a key is of the family, size and curve that `alg` names (RFC 7518 3.1). */
static bool fits(const EVP_PKEY *key, const char *alg)
{
	static const struct {
		const char *alg;
		const char *curve;
	} curves[] = {{"ES256", SN_X9_62_prime256v1}, {"ES384", SN_secp384r1}, {"ES512", SN_secp521r1}};
	char curve[32] = "";

	if (strncmp(alg, "ES", 2) != 0)
		return !signature_is_hmac(alg) && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA &&
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

/* NULL: not one, or, where errno is ENOMEM, not known: OpenSSL does not tell these apart. */
static EVP_PKEY *parse_pem(const char *pem, size_t len, bool private)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	EVP_PKEY *key = NULL;

	errno = 0;
	if (!bio) {
		errno = ENOMEM;
		return NULL;
	}
	key = private ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL)
		      : PEM_read_bio_PUBKEY(bio, NULL, no_password, NULL);
	BIO_free(bio);
	return key;
}

static size_t hash_bytes(const char *alg)
{
	return strtoul(alg + 2, NULL, 10) / 8;
}

/*
 *	fault	out: what is wrong with it, when ERR_CONFIG
 */
static enum err judge_material(struct key *k, const char **fault)
{
	struct buf *m = &k->material;
	EVP_PKEY *key = NULL;
	bool good = false;

	if (signature_is_hmac(k->alg)) {
		k->newline = m->len > 0 && m->bytes[m->len - 1] == '\n';
		/* A public key is no secret: whoever has it could sign. */
		if (m->len - k->newline < hash_bytes(k->alg))
			*fault = "is too short for its algorithm";
		else if (memmem(m->bytes, m->len, "-----BEGIN ", strlen("-----BEGIN ")))
			*fault = "is a PEM file, where a secret of random bytes is expected";
		return *fault ? ERR_CONFIG : OK;
	}
	key = parse_pem(m->bytes, m->len, false);
	good = key && fits(key, k->alg);
	EVP_PKEY_free(key);
	if (!good && errno == ENOMEM)
		return ERR_MEMORY;
	if (!good)
		*fault = "is not a public key in PEM for its algorithm";
	return good ? OK : ERR_CONFIG;
}

static enum err parse_file_name(const char *name, struct key *k)
{
	size_t kid_len = strspn(name, KID_CHARS);
	const char *alg = name + kid_len + 1;

	if (kid_len == 0 || kid_len > KID_MAX || name[kid_len] != '.' || !signature_alg_known(alg))
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

static enum err add_key(struct key_ring *ring, const char *directory, const char *name, struct buf *problem)
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
	if (!key_ring_lists(ring, k.alg)) {
		buf_printf(problem, "%s is for an algorithm that TIDINGS_JWT_ALGORITHMS does not list", path.bytes);
		goto out;
	}
	e = file_read(path.bytes, KEY_FILE_MAX, signature_is_hmac(k.alg), &k.material);
	if (e == OK)
		e = judge_material(&k, &fault);
	else if (e != ERR_MEMORY)
		fault = file_fault(e);
	if (fault) {
		buf_printf(problem, "%s %s", path.bytes, fault);
		e = ERR_CONFIG;
	}
	if (e != OK)
		goto out;
	more = reallocarray(ring->keys, ring->count + 1, sizeof(*more));
	if (!more) {
		e = ERR_MEMORY;
		goto out;
	}
	ring->keys = more;
	ring->keys[ring->count++] = k;
	k = (struct key){0}; /* taken */
	e = OK;
out:
	key_clean(&k);
	buf_free(&path);
	return e;
}

static enum err judge_algorithms(const char *algorithms, struct buf *problem)
{
	const char *list = algorithms;
	char alg[ALG_MAX + 1];

	while (next_algorithm(&list, alg)) {
		if (signature_alg_known(alg))
			continue;
		buf_printf(problem, "TIDINGS_JWT_ALGORITHMS lists what this libjwt has no signature for: %s",
			   algorithms);
		return ERR_CONFIG;
	}
	return OK;
}

enum err key_ring_load(struct key_ring **out, const char *directory, const char *algorithms, struct buf *problem)
{
	struct key_ring *ring = NULL;
	const struct dirent *entry = NULL;
	DIR *dir = NULL;
	enum err e = judge_algorithms(algorithms, problem);

	if (e != OK)
		return e;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return ERR_MEMORY;
	ring->algorithms = algorithms;
	dir = opendir(directory);
	if (!dir && errno == ENOMEM) {
		e = ERR_MEMORY;
		goto out;
	}
	if (!dir) {
		buf_printf(problem, "the folder of keys %s, named by TIDINGS_JWT_KEYS, cannot be read: %s", directory,
			   strerror(errno));
		e = ERR_CONFIG;
		goto out;
	}
	while (e == OK && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			e = add_key(ring, directory, entry->d_name, problem);
	if (e == OK && ring->count == 0) {
		buf_printf(problem, "the folder of keys %s, named by TIDINGS_JWT_KEYS, has no key in it", directory);
		e = ERR_CONFIG;
	}
out:
	if (dir)
		closedir(dir);
	if (e == OK)
		*out = ring;
	else
		key_ring_free(&ring);
	return e;
}

void key_ring_free(struct key_ring **out)
{
	struct key_ring *ring = *out;

	if (!ring)
		return;
	for (size_t i = 0; i < ring->count; i++)
		key_clean(&ring->keys[i]);
	free(ring->keys);
	free(ring);
	*out = NULL;
}

bool key_ring_kid_valid(const char *kid)
{
	return strlen(kid) <= KID_MAX && kid[strspn(kid, KID_CHARS)] == '\0';
}

size_t key_ring_count(const struct key_ring *ring, struct span alg)
{
	size_t count = 0;

	for (size_t i = 0; i < ring->count; i++)
		count += strlen(ring->keys[i].alg) == alg.len && memcmp(ring->keys[i].alg, alg.bytes, alg.len) == 0;
	return count;
}

const struct key *key_ring_find(const struct key_ring *ring, const char *kid, const char *alg)
{
	for (size_t i = 0; i < ring->count; i++)
		if (strcmp(ring->keys[i].kid, kid) == 0 && strcmp(ring->keys[i].alg, alg) == 0)
			return &ring->keys[i];
	return NULL;
}

enum err key_ring_signer(const struct key_ring *ring, const char *kid, const char *alg, const char *private_key_pem,
			 char chosen_alg[ALG_MAX + 1], struct span *material)
{
	const char *list = alg ? alg : ring->algorithms;
	EVP_PKEY *private_key = NULL;
	enum err e = private_key_pem ? ERR_INPUT : ERR_NOT_FOUND;

	if (private_key_pem)
		private_key = parse_pem(private_key_pem, strlen(private_key_pem), true);
	if (private_key_pem && !private_key && errno == ENOMEM)
		return ERR_MEMORY;
	while (e != OK && next_algorithm(&list, chosen_alg)) {
		const struct key *k = signature_is_hmac(chosen_alg) ? key_ring_find(ring, kid, chosen_alg) : NULL;

		if (private_key && signature_alg_known(chosen_alg) && fits(private_key, chosen_alg)) {
			*material = (struct span){private_key_pem, strlen(private_key_pem)};
			e = OK;
		} else if (!private_key_pem && k) {
			*material = (struct span){k->material.bytes, k->material.len - k->newline};
			e = OK;
		}
	}
	EVP_PKEY_free(private_key);
	return e;
}
