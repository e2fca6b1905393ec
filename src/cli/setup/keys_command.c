/*
 * The folder TIDINGS_JWT_KEYS. What is in a key is never printed. A new one is there as a whole or not at all: programs read
 * the folder when they like; and it is its owner's, whoever makes it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/report.h"
#include "domain/caller/key_ring.h"
#include "domain/text/json.h"

#define RSA_BITS 3072

/* A file that is not there yet; `like`: a folder, whose owner is its own, and whose group reads it where it reads the folder. False: errno tells. */
static bool write_new(const char *path, const char *temporary, const char *like, const struct buf *bytes)
{
	struct stat owner;
	int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	bool done = fd >= 0 && write(fd, bytes->bytes, bytes->len) == (ssize_t)bytes->len && fsync(fd) == 0;

	if (done && like && stat(like, &owner) == 0) {
		done = geteuid() != 0 || fchown(fd, owner.st_uid, owner.st_gid) == 0;
		done = done && fchmod(fd, owner.st_mode & S_IRGRP ? 0640 : 0600) == 0;
	}
	if (done && strcmp(path, temporary) != 0)
		done = link(temporary, path) == 0;
	if (fd >= 0) {
		int saved = errno;

		(void)close(fd);
		if (!done || strcmp(path, temporary) != 0)
			(void)unlink(temporary);
		errno = saved;
	}
	return done;
}

static int refuse(const char *path)
{
	complain("%s cannot be made: %s", path, errno == EEXIST ? "it is there already" : strerror(errno));
	return EXIT_FAILED;
}

/* Random bytes in hex, twice as many as the hash has. */
static bool make_secret(const char *alg, struct buf *out)
{
	unsigned char random[64];
	size_t len = strtoul(alg + 2, NULL, 10) / 8;
	bool good = len > 0 && len <= sizeof(random) && RAND_bytes(random, (int)len) == 1;

	for (size_t i = 0; good && i < len; i++)
		buf_printf(out, "%02x", random[i]);
	explicit_bzero(random, sizeof(random));
	return good && buf_ok(out);
}

static EVP_PKEY *make_pair(const char *alg)
{
	if (strcmp(alg, "ES256") == 0)
		return EVP_EC_gen("P-256");
	if (strcmp(alg, "ES384") == 0)
		return EVP_EC_gen("P-384");
	if (strcmp(alg, "ES512") == 0)
		return EVP_EC_gen("P-521");
	if (strcmp(alg, "EdDSA") == 0)
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	if (strncmp(alg, "RS", 2) == 0 || strncmp(alg, "PS", 2) == 0)
		return EVP_RSA_gen(RSA_BITS);
	return NULL;
}

static bool take_pem(BIO *bio, struct buf *out)
{
	char *text = NULL;
	long len = BIO_get_mem_data(bio, &text);

	if (len > 0)
		buf_add(out, text, (size_t)len);
	return len > 0 && buf_ok(out);
}

/*	out	what the folder holds: a secret, or a public key
 *	private_key	out: of a pair */
static bool make_key(const char *alg, struct buf *out, struct buf *private_key)
{
	EVP_PKEY *pair = NULL;
	BIO *public_bio = NULL, *private_bio = NULL;
	bool good = false;

	if (signature_is_hmac(alg))
		return make_secret(alg, out);
	pair = make_pair(alg);
	public_bio = BIO_new(BIO_s_mem());
	private_bio = BIO_new(BIO_s_secmem());
	good = pair && public_bio && private_bio && PEM_write_bio_PUBKEY(public_bio, pair) == 1 &&
	       PEM_write_bio_PrivateKey(private_bio, pair, NULL, NULL, 0, NULL, NULL) == 1 &&
	       take_pem(public_bio, out) && take_pem(private_bio, private_key);
	BIO_free(public_bio);
	BIO_free(private_bio);
	EVP_PKEY_free(pair);
	return good;
}

/*	private_path	of the other half, which is of no use without this one; NULL: there is none */
static int write_public(const char *path, const char *temporary, const char *folder, const struct buf *key,
			const char *private_path)
{
	int status = EXIT_DONE;

	if (write_new(path, temporary, folder, key))
		return status;
	status = refuse(path);
	if (private_path)
		(void)unlink(private_path);
	return status;
}

static int write_key(const struct arguments *a, const char *folder, const char *kid, const char *alg,
		     const struct buf *key, const struct buf *private_key)
{
	const char *private_path = arguments_value(a, "private");
	struct buf path = BUF_EMPTY, temporary = BUF_EMPTY, json = BUF_EMPTY;
	int status = EXIT_DONE;

	buf_printf(&path, "%s/%s.%s", folder, kid, alg);
	buf_printf(&temporary, "%s/.%s.%s.%ld", folder, kid, alg, (long)getpid());
	if (!buf_ok(&path) || !buf_ok(&temporary))
		status = command_failed(NULL, ERR_MEMORY);
	else if (access(path.bytes, F_OK) == 0 && (errno = EEXIST))
		status = refuse(path.bytes);
	else if (private_path && !write_new(private_path, private_path, NULL, private_key))
		status = refuse(private_path);
	else
		status = write_public(path.bytes, temporary.bytes, folder, key, private_path);
	if (status == EXIT_DONE && a->json) {
		buf_add_text(&json, "{\"file\":");
		json_add_string(&json, path.bytes, path.len);
		buf_printf(&json, ",\"kid\":\"%s\",\"alg\":\"%s\"}", kid, alg);
		status = report_json(&json);
	} else if (status == EXIT_DONE) {
		puts(path.bytes);
	}
	buf_free(&path);
	buf_free(&temporary);
	buf_free(&json);
	return status;
}

int keys_new_command(const struct arguments *a)
{
	const char *kid = a->operands[0];
	const char *alg = arguments_value(a, "alg") ? arguments_value(a, "alg") : "HS256";
	struct buf key = BUF_EMPTY, private_key = BUF_EMPTY;
	struct config config;
	int status = EXIT_FAILED;

	if (*kid == '\0' || !key_ring_kid_valid(kid)) {
		complain("a key's name is 1 to %d of A-Z a-z 0-9 _ and -", KID_MAX);
		return EXIT_WRONG;
	}
	if (!signature_alg_known(alg)) {
		complain("%s is no algorithm that this build has signatures for, such as HS256, RS256 or ES256", alg);
		return EXIT_WRONG;
	}
	if (signature_is_hmac(alg) != !arguments_value(a, "private")) {
		complain(signature_is_hmac(alg) ? "%s is a secret, and has no private key apart"
						: "%s is a pair: --private FILE says where the private key goes",
			 alg);
		return EXIT_WRONG;
	}
	read_config(&config);
	/* Programs refuse a folder with such a key in it as a whole. */
	if (!algorithm_listed(config.jwt_algorithms, alg)) {
		complain("TIDINGS_JWT_ALGORITHMS does not list %s: with such a key no program would start", alg);
		return EXIT_WRONG;
	}
	if (make_key(alg, &key, &private_key))
		status = write_key(a, config.jwt_keys, kid, alg, &key, &private_key);
	else
		complain("a key could not be made");
	if (key.bytes)
		explicit_bzero(key.bytes, key.size);
	if (private_key.bytes)
		explicit_bzero(private_key.bytes, private_key.size);
	buf_free(&key);
	buf_free(&private_key);
	return status;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_key(const struct dirent *entry)
{
	return entry->d_name[0] != '.' && strrchr(entry->d_name, '.');
}

static void add_key(struct buf *json, const char *folder, const char *name)
{
	const char *alg = strrchr(name, '.') + 1;
	struct buf path = BUF_EMPTY;
	struct stat file;
	char changed[CLOCK_TEXT_SIZE];

	buf_printf(&path, "%s/%s", folder, name);
	buf_add_text(json, json->len > 1 ? ",{\"kid\":" : "{\"kid\":");
	json_add_string(json, name, (size_t)(alg - 1 - name));
	buf_add_text(json, ",\"alg\":");
	json_add_string(json, alg, strlen(alg));
	if (buf_ok(&path) && stat(path.bytes, &file) == 0)
		buf_printf(json, ",\"mode\":\"%04o\",\"changed_at\":\"%s\"", (unsigned)file.st_mode & 07777,
			   clock_text(changed, (int64_t)file.st_mtime * 1000000));
	buf_add_text(json, "}");
	buf_free(&path);
}

int keys_list_command(const struct arguments *a)
{
	static const struct report_column columns[] = {
		{"kid", "KID"}, {"alg", "ALGORITHM"}, {"mode", "MODE"}, {"changed_at", "CHANGED"}};
	struct dirent **names = NULL;
	struct buf json = BUF_EMPTY;
	struct config config;
	int status = EXIT_FAILED;
	int count = 0;

	read_config(&config);
	count = scandir(config.jwt_keys, &names, is_key, by_name);
	if (count < 0) {
		complain("the folder of keys %s cannot be read: %s", config.jwt_keys, strerror(errno));
		return status;
	}
	buf_add_text(&json, "[");
	for (int i = 0; i < count; i++) {
		add_key(&json, config.jwt_keys, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	buf_add_text(&json, "]");
	status = report_table(&json, a->json, columns, ARRAY_LEN(columns), "there are no keys; see tidings keys new");
	buf_free(&json);
	return status;
}

int keys_check_command(const struct arguments *a)
{
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;
	struct token_rules rules;
	struct config config;
	enum err e = OK;

	read_config(&config);
	rules = token_rules_of(&config);
	e = token_keys_load(&keys, config.jwt_keys, &rules, &problem);
	if (e != OK)
		complain("%s", buf_ok(&problem) && problem.len > 0 ? problem.bytes : err_text(e));
	else
		puts(a->json ? "{\"status\":\"ok\"}" : "ok");
	token_keys_free(&keys);
	buf_free(&problem);
	return e == OK ? EXIT_DONE : EXIT_FAILED;
}
