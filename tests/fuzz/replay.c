/*
 * Runs a fuzz target over its corpus, or over the files given: a line of TAP each. An input that breaks something ends the program,
 * which the test driver reports.
 */
#include <dirent.h>
#include <string.h>

#include "base/buf.h"
#include "tests/fuzz/fuzz.h"

static void replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct buf in = BUF_EMPTY;
	char piece[4096];
	uint8_t *exact = NULL; /* ends where the input ends, so that a byte read beyond it is seen */
	size_t got;

	MUST_HOLD(file);
	while ((got = fread(piece, 1, sizeof(piece), file)) > 0)
		buf_add(&in, piece, got);
	fclose(file);
	exact = malloc(in.len + (in.len == 0));
	MUST_HOLD(buf_ok(&in) && exact);
	if (in.len > 0)
		memcpy(exact, in.bytes, in.len);
	LLVMFuzzerTestOneInput(exact, in.len);
	/* And all that it could have been cut to, as it comes over a network. */
	for (size_t len = 0; len < in.len && in.len < 1000; len++) {
		uint8_t *cut = malloc(len + (len == 0));

		MUST_HOLD(cut);
		memcpy(cut, exact, len);
		LLVMFuzzerTestOneInput(cut, len);
		free(cut);
	}
	free(exact);
	buf_free(&in);
}

int main(int argc, char **argv)
{
	const char *top = getenv("srcdir"); /* automake's */
	char directory[4096], path[8192];
	struct dirent **names = NULL;
	int count = 0;

	if (argc > 1) {
		for (; count < argc - 1; count++) {
			replay(argv[1 + count]);
			printf("ok %d - %s\n", count + 1, argv[1 + count]);
		}
		printf("1..%d\n", count);
		return 0;
	}
	snprintf(directory, sizeof(directory), "%s/tests/fuzz/corpus/" FUZZ_TARGET, top ? top : ".");
	int found = scandir(directory, &names, NULL, alphasort);

	MUST_HOLD(found > 2);
	for (int i = 0; i < found; i++) {
		if (names[i]->d_name[0] != '.') {
			snprintf(path, sizeof(path), "%s/%s", directory, names[i]->d_name);
			replay(path);
			printf("ok %d - %s %s\n", ++count, FUZZ_TARGET, names[i]->d_name);
		}
		free(names[i]);
	}
	free(names);
	printf("1..%d\n", count);
	return 0;
}
