/*
 * memory - allocations that fail when a test says so: those of the libraries that a test uses as well.
 *
 * A program's own malloc() takes the place of the C library's for all that it has loaded; strdup(), asprintf() and the
 * rest come here, too. Included by the one file of a test.
 */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/defs.h"
#include "base/err.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

/* AddressSanitizer's allocator looks at what is freed, and by what. */
#ifdef __SANITIZE_ADDRESS__
#define REAL(function) __interceptor_##function

/* What is asked for after a failure may be of any size. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

/* OpenSSL leaves some of what it had when it finds no more; who called it is not always seen. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:CRYPTO_malloc\nleak:CRYPTO_zalloc";
}
#else
#define REAL(function) __libc_##function
#endif

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *bytes, size_t size);

static __thread unsigned memory_left; /* allocations until one fails; 0: none does */
static __thread bool memory_lasting;  /* all fail from then on */
static __thread bool memory_has_failed;

/* Of this thread's allocations the n-th fails, `lasting`: and all after it; until memory_restore(). */
static void memory_fail(unsigned n, bool lasting)
{
	memory_left = n;
	memory_lasting = lasting;
	memory_has_failed = false;
}

/* True: one has failed since memory_fail(). */
static bool memory_restore(void)
{
	memory_left = 0;
	return memory_has_failed;
}

static bool memory_refuses(void)
{
	if (memory_left == 0)
		return false;
	if (memory_left > 1) {
		memory_left--;
		return false;
	}
	if (!memory_lasting)
		memory_left = 0;
	memory_has_failed = true;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return memory_refuses() ? NULL : REAL(malloc)(size);
}

void *calloc(size_t count, size_t size)
{
	return memory_refuses() ? NULL : REAL(calloc)(count, size);
}

void *realloc(void *bytes, size_t size)
{
	return memory_refuses() ? NULL : REAL(realloc)(bytes, size);
}

/*
 * Runs it with its first allocation failing, then with its second, …, until none fails any more; then once more so, with
 * all failing from the n-th on. It calls memory_restore() before it looks at what it got.
 *
 *	attempt	ERR_MEMORY; or what it returns without a failure, where what failed was not needed
 */
static void memory_fail_each(enum err (*attempt)(void *context), void *context)
{
	enum err right = attempt(context);

	for (int lasting = 0; lasting < 2; lasting++) {
		for (unsigned n = 1;; n++) {
			enum err e;

			memory_fail(n, lasting);
			e = attempt(context);
			if (e != ERR_MEMORY && e != right)
				fail_msg("without its allocation %u it is \"%s\", not \"%s\"", n, err_text(e),
					 err_text(right));
			if (!memory_restore()) {
				assert_int_equal(e, right);
				assert_true(n > 1);
				break;
			}
		}
	}
}
