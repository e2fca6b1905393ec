#include "fcgi/server.h"

#include <errno.h>
#include <fcgiapp.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log/audit.h"
#include "base/log/audit_sink.h"
#include "base/log/log.h"
#include "base/process/supervisor.h"
#include "fcgi/metrics/program_metrics.h"

#define LISTEN_DESCRIPTOR 0		/* FastCGI specification 1.0, section 2.2 */
#define STACK_BYTES (512 * 1024)	/* JSON recurses at most 32 deep; what is large is on the heap */
#define WAKE_SIGNAL SIGUSR2		/* makes a thread that waits in accept(2) look up */
#define WAKE_INTERVAL_NS (20 * 1000000) /* one that came just before accept(2) is lost: so again */
#define ACCEPT_RETRY_NS (100 * 1000000)
#define REFUSAL_NS (50 * 1000000)
#define PARENT_SIGNAL SIGRTMIN /* from the kernel: the parent has ended */

struct thread {
	pthread_t id;
	const struct server_job *job;
	void *context;
	atomic_bool left;
};

/* The unix socket's name in its folder, where that is this program's to remove. */
struct socket_name {
	struct sockaddr_un address; /* empty path: there is none */
	struct stat file;
};

static atomic_bool stopping;
static atomic_size_t delaying; /* threads, in delay_refusal() */

static void wake(int number)
{
	(void)number;
}

static void wake_mask(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, WAKE_SIGNAL);
	pthread_sigmask(how, &set, NULL);
}

static void sleep_ns(long ns)
{
	struct timespec t = {.tv_nsec = ns};

	nanosleep(&t, NULL);
}

/*
 * A script that is refused, for its token or its rate, and asks again at once, kept the web server and this program busy:
 * it is answered a little later. Half of the threads at most wait so.
 */
static void delay_refusal(size_t threads, int status)
{
	if (status != 401 && status != 429)
		return;
	if (atomic_fetch_add(&delaying, 1) < threads / 2)
		sleep_ns(REFUSAL_NS);
	atomic_fetch_sub(&delaying, 1);
}

static void serve(const struct thread *t, FCGX_Request *fcgi)
{
	const struct metrics *m = t->job->metrics;
	int64_t began_us = clock_monotonic_us();
	struct response res = RESPONSE_NEW;
	struct request_subject about;
	struct request r;
	enum err e;

	metrics_add(m, METRIC_HTTP_REQUESTS_IN_FLIGHT, 0, 0, 1);
	e = request_init(&r, fcgi, t->job->config, &about);
	log_set_subject(&about.subject);
	if (e == OK)
		t->job->serve(t->context, &r, &res);
	else
		response_fault(&res, ERR_MEMORY);
	program_metrics_request(m, res.route, res.status, clock_monotonic_us() - began_us);
	if (res.status == 401)
		audit_write("authenticate", &(struct audit){.path = r.path, .outcome = "refused", .why = res.why});
	log_set_subject(NULL);
	delay_refusal(t->job->threads, res.status);
	response_send(&r, &res);
	response_free(&res);
	/* Its close(2) waits until the web server has closed, so that what nobody has read cannot break the reply. */
	if (FCGX_HasSeenEOF(fcgi->in) == EOF)
		FCGX_Detach(fcgi);
	else
		FCGX_Attach(fcgi);
	FCGX_Finish_r(fcgi);
	metrics_add(m, METRIC_HTTP_REQUESTS_IN_FLIGHT, 0, 0, -1);
}

static void *run(void *arg)
{
	struct thread *t = arg;
	FCGX_Request fcgi;

	FCGX_InitRequest(&fcgi, LISTEN_DESCRIPTOR, FCGI_FAIL_ACCEPT_ON_INTR);
	for (;;) {
		int accepted = 0;

		/* The signal is let in here alone: it must not cut short the reading of a body. */
		wake_mask(SIG_UNBLOCK);
		accepted = FCGX_Accept_r(&fcgi);
		wake_mask(SIG_BLOCK);
		if (accepted == 0)
			serve(t, &fcgi);
		else if (atomic_load(&stopping))
			break;
		else if (accepted != -EINTR)
			sleep_ns(ACCEPT_RETRY_NS); /* out of descriptors: others have to finish first */
	}
	FCGX_Free(&fcgi, 1);
	atomic_store(&t->left, true);
	return NULL;
}

static void stop_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGUSR1);
	sigaddset(set, SIGHUP);
	sigaddset(set, PARENT_SIGNAL);
}

void server_block_signals(void)
{
	sigset_t set;

	stop_signals(&set);
	sigaddset(&set, WAKE_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static bool is_on_its_own(void)
{
	return getenv("LISTEN_FDS") || getsid(0) == getpid();
}

/* Who made the socket listen; 0 where the kernel does not know, as with TCP. */
static pid_t socket_maker(void)
{
	struct ucred who = {0};
	socklen_t len = sizeof(who);

	return getsockopt(LISTEN_DESCRIPTOR, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 ? who.pid : 0;
}

/*
 * The process whose end is the end of this one: a web server that starts its programs itself, since nobody else would
 * restart them and the next web server would find their sockets and leave them as they are. What systemd or spawn-fcgi
 * start is on its own: it leads a session. 0: there is none. -1: it has ended already, and the parent is one that has
 * only adopted this process.
 */
static pid_t follow_parent(void)
{
	pid_t parent = getppid();
	pid_t web_server = socket_maker();

	if (is_on_its_own() || prctl(PR_SET_PDEATHSIG, PARENT_SIGNAL) != 0)
		return 0;
	return web_server > 0 && kill(web_server, 0) != 0 && errno == ESRCH ? -1 : parent;
}

static void wait_for_stop(const struct server_job *job, pid_t parent)
{
	sigset_t set;
	int number = 0;

	stop_signals(&set);
	/* The signal comes too when only the thread that started this has ended. */
	while ((parent == 0 || getppid() == parent) && sigwait(&set, &number) == 0) {
		if (number == SIGHUP) {
			audit_sink_reopen();
			job->reload(job->reload_context);
		} else if (number != PARENT_SIGNAL) {
			log_notice("stopping signal=%d", number);
			return;
		}
	}
	log_notice("stopping: the web server that started this has ended");
}

static void set_nonblocking(bool on)
{
	int flags = fcntl(LISTEN_DESCRIPTOR, F_GETFL);

	if (flags >= 0)
		fcntl(LISTEN_DESCRIPTOR, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

static void find_socket_name(struct socket_name *name)
{
	socklen_t len = sizeof(name->address);

	*name = (struct socket_name){0};
	if (getenv("LISTEN_FDS") || getsockname(LISTEN_DESCRIPTOR, (struct sockaddr *)&name->address, &len) != 0 ||
	    name->address.sun_family != AF_UNIX || stat(name->address.sun_path, &name->file) != 0)
		name->address.sun_path[0] = '\0';
}

/*
 * Whoever is in the socket's queue has sent a request already. Where the socket is only ours, its queue would end with
 * us: so its name goes, that nobody new gets into it, and the queue is served to its end. The name may be that of the next
 * web server's socket by now. Under systemd the socket stays, and the next instance serves its queue.
 */
static void close_to_newcomers(const struct socket_name *name)
{
	struct stat now;

	if (name->address.sun_path[0] == '\0') {
		FCGX_ShutdownPending();
		return;
	}
	if (stat(name->address.sun_path, &now) == 0 && now.st_dev == name->file.st_dev &&
	    now.st_ino == name->file.st_ino)
		unlink(name->address.sun_path);
	set_nonblocking(true);
}

static void stop(struct thread *threads, size_t started, const struct socket_name *name)
{
	size_t here = started;

	close_to_newcomers(name);
	atomic_store(&stopping, true);
	while (here > 0) {
		here = 0;
		for (size_t i = 0; i < started; i++) {
			if (atomic_load(&threads[i].left))
				continue;
			pthread_kill(threads[i].id, WAKE_SIGNAL);
			here++;
		}
		if (here > 0)
			sleep_ns(WAKE_INTERVAL_NS);
	}
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i].id, NULL);
}

static size_t start(const struct server_job *job, struct thread *threads)
{
	pthread_attr_t attributes;
	size_t started = 0;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	for (; started < job->threads; started++) {
		struct thread *t = &threads[started];

		t->job = job;
		t->context = job->contexts[started];
		if (pthread_create(&t->id, &attributes, run, t) != 0)
			break;
	}
	pthread_attr_destroy(&attributes);
	return started;
}

enum err server_run(const struct server_job *job)
{
	struct sigaction on_wake = {.sa_handler = wake}; /* without SA_RESTART: accept(2) returns */
	struct thread *threads = NULL;
	struct socket_name name;
	pid_t parent = follow_parent();
	size_t started = 0;
	enum err e = OK;

	if (FCGX_IsCGI() || FCGX_Init() != 0) {
		log_error("descriptor 0 is no FastCGI socket: a web server or spawn-fcgi starts this program");
		return ERR_SYSTEM;
	}
	if (log_start_writer() != OK ||
	    audit_sink_start_writer(metrics_number(job->metrics, METRIC_AUDIT_LINES_LOST, 0, 0)) != OK)
		log_warning("lines of the log are written without a thread of their own");
	/* It may be one that an instance before us has left so. */
	set_nonblocking(false);
	find_socket_name(&name);
	sigaction(WAKE_SIGNAL, &on_wake, NULL);
	threads = calloc(job->threads, sizeof(*threads));
	if (!threads)
		return ERR_MEMORY;
	started = start(job, threads);
	metrics_set(job->metrics, METRIC_HTTP_THREADS, 0, 0, (int64_t)started);
	if (started < job->threads) {
		log_error("threads cannot be started wanted=%zu started=%zu", job->threads, started);
		e = ERR_SYSTEM;
	} else {
		log_notice("serving threads=%zu", started);
		supervisor_tell(SUPERVISOR_READY);
		wait_for_stop(job, parent);
	}
	supervisor_tell(SUPERVISOR_STOPPING);
	stop(threads, started, &name);
	free(threads);
	return e;
}
