#include "domain/caller/token_cache.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 4
#define DIGEST_BYTES 32

struct place {
	uint64_t used; /* the memo's `uses` when it was last; 0: it is empty */
	uint8_t digest[DIGEST_BYTES];
};

struct memo {
	EVP_MD *sha256;
	EVP_MD_CTX *context;
	struct place *places; /* `sets` times WAYS */
	char *values;	      /* one for each place */
	size_t value_size;
	size_t sets;
	uint64_t uses;
};

enum err memo_new(struct memo **m, size_t value_size, size_t values_max)
{
	struct memo *made = calloc(1, sizeof(*made));

	if (!made)
		return ERR_MEMORY;
	made->value_size = value_size;
	made->sets = MAX(values_max / WAYS, (size_t)1);
	made->places = calloc(made->sets * WAYS, sizeof(made->places[0]));
	made->values = calloc(made->sets * WAYS, value_size);
	/* Fetched once: to find it by its name takes longer than to use it. */
	made->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	made->context = EVP_MD_CTX_new();
	if (!made->places || !made->values || !made->sha256 || !made->context) {
		memo_free(&made);
		return ERR_MEMORY;
	}
	*m = made;
	return OK;
}

void memo_free(struct memo **m)
{
	if (!*m)
		return;
	EVP_MD_CTX_free((*m)->context);
	EVP_MD_free((*m)->sha256);
	free((*m)->places);
	free((*m)->values);
	free(*m);
	*m = NULL;
}

/* The first of the places that bytes with this digest may have. */
static struct place *find_set(const struct memo *m, const uint8_t *digest)
{
	uint64_t start;

	memcpy(&start, digest, sizeof(start));
	return &m->places[start % m->sets * WAYS];
}

static bool digest_of(struct memo *m, struct span bytes, uint8_t *digest)
{
	return EVP_DigestInit_ex(m->context, m->sha256, NULL) == 1 &&
	       EVP_DigestUpdate(m->context, bytes.bytes, bytes.len) == 1 &&
	       EVP_DigestFinal_ex(m->context, digest, NULL) == 1;
}

static char *value_of(const struct memo *m, const struct place *p)
{
	return m->values + (size_t)(p - m->places) * m->value_size;
}

static struct place *find(const struct memo *m, const uint8_t *digest)
{
	struct place *set = find_set(m, digest);

	for (int i = 0; i < WAYS; i++)
		if (set[i].used > 0 && memcmp(set[i].digest, digest, DIGEST_BYTES) == 0)
			return &set[i];
	return NULL;
}

const void *memo_find(struct memo *m, struct span bytes)
{
	uint8_t digest[DIGEST_BYTES];
	struct place *p = digest_of(m, bytes, digest) ? find(m, digest) : NULL;

	if (!p)
		return NULL;
	p->used = ++m->uses;
	return value_of(m, p);
}

void memo_keep(struct memo *m, struct span bytes, const void *value)
{
	uint8_t digest[DIGEST_BYTES];
	struct place *p;

	if (!digest_of(m, bytes, digest))
		return;
	p = find(m, digest);
	if (!p) {
		p = find_set(m, digest);
		for (struct place *other = p + 1, *end = p + WAYS; other < end; other++)
			if (other->used < p->used)
				p = other;
	}
	p->used = ++m->uses;
	memcpy(p->digest, digest, DIGEST_BYTES);
	memcpy(value_of(m, p), value, m->value_size);
}
