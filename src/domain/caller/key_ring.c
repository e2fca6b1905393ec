#include "domain/caller/key_ring.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "domain/jose/algorithm.h"
#include "domain/jose/jwk_set.h"

#define KEY_FILE_MAX 16384 /* bytes */
#define KID_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

struct key_ring {
	const char *algorithms; /* borrowed */
	struct key *keys;
	size_t count;
};

bool key_ring_lists(const struct key_ring *ring, const char *alg)
{
	return algorithm_listed(ring->algorithms, alg);
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
	struct buf *m = &k->secret;
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
	k->public_key = signature_read_key((struct span){m->bytes, m->len}, false);
	good = k->public_key && algorithm_fits(k->public_key, k->alg);
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
	memcpy(k->alg, alg, ALGORITHM_MAX + 1);
	return OK;
}

static void key_clean(struct key *k)
{
	if (k->secret.bytes)
		explicit_bzero(k->secret.bytes, k->secret.size);
	buf_free(&k->secret);
	EVP_PKEY_free(k->public_key);
}

/* Takes what is in `k`. */
static enum err append(struct key_ring *ring, struct key *k)
{
	struct key *more = NULL;

	if (k->public_key && signature_prepare_pair(k->alg, k->public_key) != OK)
		return ERR_MEMORY;
	more = reallocarray(ring->keys, ring->count + 1, sizeof(*more));
	if (!more)
		return ERR_MEMORY;
	ring->keys = more;
	ring->keys[ring->count++] = *k;
	*k = (struct key){0};
	return OK;
}

static const char *file_fault(enum err e)
{
	if (e == ERR_FORBIDDEN)
		return "can be read or written by every user of this machine";
	return e == ERR_TOO_LARGE ? "is too large for a key" : "cannot be read";
}

/*
 *	name		of the file in the folder
 *	prefix_len	bytes of it that are in front of the kid
 */
static enum err add_key(struct key_ring *ring, const char *folder, const char *name, size_t prefix_len,
			struct buf *problem)
{
	struct key k = {0};
	struct buf path = BUF_EMPTY;
	const char *fault = NULL;
	enum err e = ERR_CONFIG;

	buf_printf(&path, "%s/%s", folder, name);
	if (!buf_ok(&path))
		return ERR_MEMORY;
	if (parse_file_name(name + prefix_len, &k) != OK) {
		buf_printf(problem, "%s is not named <kid>.<ALG>, as in default.HS256", path.bytes);
		goto out;
	}
	if (!key_ring_lists(ring, k.alg)) {
		buf_printf(problem, "%s is for an algorithm that TIDINGS_JWT_ALGORITHMS does not list", path.bytes);
		goto out;
	}
	e = file_read(path.bytes, KEY_FILE_MAX, signature_is_hmac(k.alg), &k.secret);
	if (e == OK)
		e = judge_material(&k, &fault);
	else if (e != ERR_MEMORY)
		fault = file_fault(e);
	if (fault) {
		buf_printf(problem, "%s %s", path.bytes, fault);
		e = ERR_CONFIG;
	}
	if (e == OK)
		e = append(ring, &k);
out:
	key_clean(&k);
	buf_free(&path);
	return e;
}

static enum err judge_algorithms(const char *algorithms, struct buf *problem)
{
	const char *list = algorithms;
	char alg[ALGORITHM_MAX + 1];

	while (algorithm_next(&list, alg)) {
		if (signature_alg_known(alg))
			continue;
		buf_printf(problem, "TIDINGS_JWT_ALGORITHMS lists what is no algorithm here: %s", algorithms);
		return ERR_CONFIG;
	}
	return OK;
}

/*
 * The folder that `directory` is; where there is none and its name ends with _, the folder in front of that name, whose files begin
 * with the name: so systemd hands on a folder as credentials (LoadCredential=).
 *
 *	folder	out: its path
 *	prefix	out: borrowed from directory, or ""
 */
static DIR *open_folder(const char *directory, struct buf *folder, const char **prefix)
{
	const char *name = strrchr(directory, '/');
	DIR *dir = opendir(directory);

	*prefix = "";
	if (dir || errno != ENOENT || !name || name[strlen(name) - 1] != '_') {
		int error = errno;

		buf_add_text(folder, directory);
		errno = error;
		return dir;
	}
	*prefix = name + 1;
	buf_add(folder, directory, (size_t)(name - directory));
	errno = ENOMEM;
	return buf_ok(folder) ? opendir(folder->bytes) : NULL;
}

/* Takes the usable keys of a set. */
static enum err add_set(struct key_ring *ring, const char *path, struct jwk_set *set, struct buf *problem)
{
	enum err e = OK;

	for (size_t i = 0; e == OK && i < set->count; i++) {
		struct jwk *jwk = &set->keys[i];
		struct key k = {.public_key = jwk->key};

		if (jwk->fault)
			continue;
		if (key_ring_find(ring, jwk->kid, jwk->alg)) {
			buf_printf(problem,
				   "%s has a key of the kid %s for %s, and so has TIDINGS_JWT_KEYS: which of them to "
				   "take would be a guess",
				   path, jwk->kid, jwk->alg);
			return ERR_CONFIG;
		}
		memcpy(k.kid, jwk->kid, strlen(jwk->kid) + 1);
		memcpy(k.alg, jwk->alg, sizeof(k.alg));
		e = append(ring, &k);
		if (e == OK)
			jwk->key = NULL; /* taken */
	}
	return e;
}

static enum err add_set_file(struct key_ring *ring, const char *path, struct buf *problem)
{
	struct buf text = BUF_EMPTY;
	struct jwk_set set = {0};
	enum err e = file_read(path, JWK_SET_BYTES_MAX, false, &text);

	if (e == OK) {
		e = jwk_set_read(&set, path, (struct span){text.bytes, text.len}, ring->algorithms, problem);
		if (e == OK)
			e = add_set(ring, path, &set, problem);
		jwk_set_free(&set);
	} else if (e != ERR_MEMORY) {
		buf_printf(problem, "%s, named by TIDINGS_JWT_JWKS, %s", path,
			   e == ERR_FORBIDDEN	? "can be written by every user of this machine"
			   : e == ERR_NOT_FOUND ? "is not there: tidings keys fetch gets it"
						: file_fault(e));
		e = ERR_CONFIG;
	}
	buf_free(&text);
	return e;
}

static enum err add_folder(struct key_ring *ring, const char *directory, bool may_be_absent, struct buf *problem)
{
	const struct dirent *entry = NULL;
	struct buf folder = BUF_EMPTY;
	const char *prefix = "";
	DIR *dir = open_folder(directory, &folder, &prefix);
	enum err e = OK;

	if (!buf_ok(&folder) || (!dir && errno == ENOMEM)) {
		e = ERR_MEMORY;
	} else if (!dir && (errno != ENOENT || !may_be_absent)) {
		buf_printf(problem, "the folder of keys %s, named by TIDINGS_JWT_KEYS, cannot be read: %s", directory,
			   strerror(errno));
		e = ERR_CONFIG;
	}
	while (dir && e == OK && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			e = add_key(ring, folder.bytes, entry->d_name, strlen(prefix), problem);
	if (dir)
		closedir(dir);
	buf_free(&folder);
	return e;
}

enum err key_ring_load(struct key_ring **out, const char *directory, const char *jwks, const char *algorithms,
		       struct buf *problem)
{
	struct key_ring *ring = NULL;
	enum err e = judge_algorithms(algorithms, problem);

	if (e != OK)
		return e;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return ERR_MEMORY;
	ring->algorithms = algorithms;
	e = add_folder(ring, directory, jwks != NULL, problem);
	if (e == OK && jwks)
		e = add_set_file(ring, jwks, problem);
	if (e == OK && ring->count == 0) {
		buf_printf(problem, "the folder of keys %s, named by TIDINGS_JWT_KEYS, has no key in it", directory);
		e = ERR_CONFIG;
	}
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
			 char chosen_alg[ALGORITHM_MAX + 1], struct span *material)
{
	const char *list = alg ? alg : ring->algorithms;
	EVP_PKEY *private_key = NULL;
	enum err e = private_key_pem ? ERR_INPUT : ERR_NOT_FOUND;

	if (private_key_pem)
		private_key = signature_read_key((struct span){private_key_pem, strlen(private_key_pem)}, true);
	if (private_key_pem && !private_key && errno == ENOMEM)
		return ERR_MEMORY;
	while (e != OK && algorithm_next(&list, chosen_alg)) {
		const struct key *k = signature_is_hmac(chosen_alg) ? key_ring_find(ring, kid, chosen_alg) : NULL;

		if (private_key && signature_alg_known(chosen_alg) && algorithm_fits(private_key, chosen_alg)) {
			*material = (struct span){private_key_pem, strlen(private_key_pem)};
			e = OK;
		} else if (!private_key_pem && k) {
			*material = (struct span){k->secret.bytes, k->secret.len - k->newline};
			e = OK;
		}
	}
	EVP_PKEY_free(private_key);
	return e == ERR_INPUT && errno == ENOMEM ? ERR_MEMORY : e;
}
