/*
 * scarce - memory that runs short in a program of tidings while it runs: made and preloaded by 89_memory.py.
 *
 * What libfcgi, libuv and libwebsockets ask for is there: they end the program without it. All else that the program, and
 * the libraries that it calls for tokens, JSON and the database, allocate may fail, at random by the seed.
 */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RANGES_MAX 32

/* The file that the environment's SCARCE names. */
struct control {
	_Atomic uint32_t every; /* about one allocation of so many fails; 0: none does */
	_Atomic uint32_t seed;
	_Atomic uint32_t failed; /* so far, in all programs */
};

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *bytes, size_t size);

static struct control *control;
static _Atomic uint32_t allocations;

/* Where the code lies whose allocations fail. */
static struct {
	uintptr_t begin, end;
} ranges[RANGES_MAX];
static size_t ranges_count;

static bool is_scarce(const char *object)
{
	static const char *const names[] = {"libpq.", "libjson-c.", "libjwt.", "libjansson.", "libcrypto.", "libz."};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strstr(object, names[i]))
			return true;
	return object[0] == '\0';
}

static int add_object(struct dl_phdr_info *object, size_t size, void *context)
{
	(void)size;
	(void)context;
	for (int i = 0; is_scarce(object->dlpi_name) && i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];

		if (part->p_type != PT_LOAD || !(part->p_flags & PF_X) || ranges_count == RANGES_MAX)
			continue;
		ranges[ranges_count].begin = object->dlpi_addr + part->p_vaddr;
		ranges[ranges_count].end = ranges[ranges_count].begin + part->p_memsz;
		ranges_count++;
	}
	return 0;
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("SCARCE");
	const char *program = program_invocation_short_name;
	int fd = path && (strcmp(program, "tidings-ws") == 0 || strstr(program, ".fcgi"))
			 ? open(path, O_RDWR | O_CLOEXEC)
			 : -1;
	void *mapped;

	if (fd < 0)
		return;
	mapped = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	dl_iterate_phdr(add_object, NULL);
	if (mapped != MAP_FAILED)
		control = mapped;
}

static bool refuses(const void *caller)
{
	uint32_t every = control ? control->every : 0, x;
	size_t i = 0;

	if (every == 0)
		return false;
	while (i < ranges_count && ((uintptr_t)caller < ranges[i].begin || (uintptr_t)caller >= ranges[i].end))
		i++;
	if (i == ranges_count)
		return false;
	x = (allocations++ + control->seed * 0x9e3779b9U) * 0x85ebca6bU;
	x = (x ^ x >> 15) * 0xc2b2ae35U;
	if ((x ^ x >> 16) % every != 0)
		return false;
	control->failed++;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return refuses(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return refuses(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *bytes, size_t size)
{
	return refuses(__builtin_return_address(0)) ? NULL : __libc_realloc(bytes, size);
}

/* Those of the C library have its address for their caller. */
char *strndup(const char *text, size_t size)
{
	size_t len = strnlen(text, size);
	char *copy = refuses(__builtin_return_address(0)) ? NULL : __libc_malloc(len + 1);

	if (!copy)
		return NULL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

char *strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = refuses(__builtin_return_address(0)) ? NULL : __libc_malloc(size);

	return copy ? memcpy(copy, text, size) : NULL;
}
