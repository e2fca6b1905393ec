#include "store/async/lookup.h"

#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"

struct lookup {
	atomic_int owners; /* whoever asked, and the thread */
	int fd;
	char *name; /* owned */
	const char *why;
	size_t count;
	char addresses[LOOKUP_ADDRESSES_MAX][LOOKUP_ADDRESS_SIZE];
};

static void release(struct lookup *l)
{
	if (atomic_fetch_sub(&l->owners, 1) > 1)
		return;
	if (l->fd >= 0)
		close(l->fd);
	free(l->name);
	free(l);
}

static void *run(void *context)
{
	static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct lookup *l = context;
	struct addrinfo *found = NULL;
	uint64_t one = 1;
	int failed = getaddrinfo(l->name, NULL, &hints, &found);

	if (failed != 0)
		l->why = gai_strerror(failed);
	for (struct addrinfo *a = failed == 0 ? found : NULL; a && l->count < LOOKUP_ADDRESSES_MAX; a = a->ai_next)
		l->count += getnameinfo(a->ai_addr, a->ai_addrlen, l->addresses[l->count], LOOKUP_ADDRESS_SIZE, NULL, 0,
					NI_NUMERICHOST) == 0;
	if (failed == 0)
		freeaddrinfo(found);
	while (write(l->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	release(l);
	return NULL;
}

enum err lookup_start(struct lookup **out, const char *name)
{
	struct lookup *l = calloc(1, sizeof(*l));

	*out = NULL;
	if (!l)
		return ERR_MEMORY;
	atomic_init(&l->owners, 2);
	l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->name = strdup(name);
	l->why = "it has no address";
	if (l->fd < 0 || !l->name || thread_start(run, l) != OK) {
		enum err e = l->name ? ERR_SYSTEM : ERR_MEMORY;

		release(l);
		release(l);
		return e;
	}
	*out = l;
	return OK;
}

void lookup_free(struct lookup **l)
{
	if (*l)
		release(*l);
	*l = NULL;
}

int lookup_fd(const struct lookup *l)
{
	return l->fd;
}

size_t lookup_take(struct lookup *l, char addresses[LOOKUP_ADDRESSES_MAX][LOOKUP_ADDRESS_SIZE], const char **why)
{
	uint64_t done = 0;

	*why = "it has not been found yet";
	if (read(l->fd, &done, sizeof(done)) != sizeof(done))
		return 0;
	*why = l->why;
	memcpy(addresses, l->addresses, sizeof(l->addresses));
	return l->count;
}
