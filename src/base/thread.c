#include "base/thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

enum err thread_start(void *(*run)(void *context), void *context)
{
	sigset_t all, before;
	pthread_t thread;
	bool started = false;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	started = pthread_create(&thread, NULL, run, context) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!started)
		return ERR_SYSTEM;
	pthread_detach(thread);
	return OK;
}
