#include "domain/caller/token_cache.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 4
#define DIGEST_BYTES 32

struct slot {
	uint64_t used; /* the cache's `uses` when it was last; 0: it is empty */
	uint8_t digest[DIGEST_BYTES];
};

struct token_cache {
	EVP_MD *sha256;
	EVP_MD_CTX *context;
	struct slot *slots; /* `sets` times WAYS */
	char *values;	    /* one for each slot */
	size_t value_size;
	size_t sets;
	uint64_t uses;
};

enum err token_cache_new(struct token_cache **c, size_t value_size, size_t values_max)
{
	struct token_cache *made = calloc(1, sizeof(*made));

	if (!made)
		return ERR_MEMORY;
	made->value_size = value_size;
	made->sets = MAX(values_max / WAYS, (size_t)1);
	made->slots = calloc(made->sets * WAYS, sizeof(made->slots[0]));
	made->values = calloc(made->sets * WAYS, value_size);
	/* Fetched once: to find it by its name takes longer than to use it. */
	made->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	made->context = EVP_MD_CTX_new();
	if (!made->slots || !made->values || !made->sha256 || !made->context) {
		token_cache_free(&made);
		return ERR_MEMORY;
	}
	*c = made;
	return OK;
}

void token_cache_free(struct token_cache **c)
{
	if (!*c)
		return;
	EVP_MD_CTX_free((*c)->context);
	EVP_MD_free((*c)->sha256);
	free((*c)->slots);
	free((*c)->values);
	free(*c);
	*c = NULL;
}

/* The first of the slots that a token with this digest may have. */
static struct slot *find_set(const struct token_cache *c, const uint8_t *digest)
{
	uint64_t start;

	memcpy(&start, digest, sizeof(start));
	return &c->slots[start % c->sets * WAYS];
}

static bool digest_of(struct token_cache *c, struct span token, uint8_t *digest)
{
	return EVP_DigestInit_ex(c->context, c->sha256, NULL) == 1 &&
	       EVP_DigestUpdate(c->context, token.bytes, token.len) == 1 &&
	       EVP_DigestFinal_ex(c->context, digest, NULL) == 1;
}

static char *value_of(const struct token_cache *c, const struct slot *p)
{
	return c->values + (size_t)(p - c->slots) * c->value_size;
}

static struct slot *find(const struct token_cache *c, const uint8_t *digest)
{
	struct slot *set = find_set(c, digest);

	for (int i = 0; i < WAYS; i++)
		if (set[i].used > 0 && memcmp(set[i].digest, digest, DIGEST_BYTES) == 0)
			return &set[i];
	return NULL;
}

const void *token_cache_find(struct token_cache *c, struct span token)
{
	uint8_t digest[DIGEST_BYTES];
	struct slot *p = digest_of(c, token, digest) ? find(c, digest) : NULL;

	if (!p)
		return NULL;
	p->used = ++c->uses;
	return value_of(c, p);
}

void token_cache_keep(struct token_cache *c, struct span token, const void *value)
{
	uint8_t digest[DIGEST_BYTES];
	struct slot *p;

	if (!digest_of(c, token, digest))
		return;
	p = find(c, digest);
	if (!p) {
		p = find_set(c, digest);
		for (struct slot *other = p + 1, *end = p + WAYS; other < end; other++)
			if (other->used < p->used)
				p = other;
	}
	p->used = ++c->uses;
	memcpy(p->digest, digest, DIGEST_BYTES);
	memcpy(value_of(c, p), value, c->value_size);
}
