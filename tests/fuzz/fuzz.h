/*
 * fuzz - one target a file: bytes from a stranger, through the code that reads them, with what must hold whatever they are.
 *
 * `make check` replays the inputs in corpus/<target>/ (replay.c). To look for new ones, with clang:
 *
 *	clang -g -fsanitize=fuzzer,address,undefined … tests/fuzz/json.c src/domain/text/json.c …
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define MUST_HOLD(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)
