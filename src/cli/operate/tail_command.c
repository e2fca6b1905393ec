/*
 * Reads what the queue holds, again and again, as tidings_reader: so it works while the sidecars are down. What is for one
 * user alone, or was never kept, is not in it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/command.h"
#include "cli/report.h"
#include "cli/text/plain.h"
#include "domain/text/json.h"
#include "domain/topic/message.h"
#include "domain/topic/selection.h"
#include "store/request/history.h"

#define PAGE 100	 /* messages */
#define ASK_AGAIN_MS 500 /* when there was nothing new */

struct tail_view {
	const struct arguments *arguments;
	struct db *db;
	struct selection *topics; /* owned; each with its cursor once it has been read */
	int64_t rewind;
	bool away; /* it has been said */
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static void wait_a_moment(void)
{
	struct timespec t = {.tv_nsec = ASK_AGAIN_MS * 1000000};

	nanosleep(&t, NULL); /* a signal ends it */
}

/* In words, or as a line of JSON: what of a topic will not come. */
static void tell_gap(const struct tail_view *v, const struct selected *s, const struct history *h)
{
	char cursor[CURSOR_TEXT_SIZE];
	bool known = h->missed_to > 0;

	if (v->arguments->json && known)
		printf("{\"topic\":\"%s\",\"gap\":{\"from\":%lld,\"to\":%lld}}\n", s->topic, (long long)h->missed_from,
		       (long long)h->missed_to);
	else if (v->arguments->json)
		printf("{\"topic\":\"%s\",\"gap\":{}}\n", s->topic);
	else if (known)
		printf("-- %s: messages %lld to %lld are no longer kept\n", s->topic, (long long)h->missed_from,
		       (long long)h->missed_to);
	else
		printf("-- %s: %s is of another numbering: what came between is not known\n", s->topic,
		       cursor_text(cursor, s->cursor.epoch, s->cursor.seq));
}

static void tell_messages(const struct tail_view *v, const struct selected *s, const struct history *h)
{
	char cursor[CURSOR_TEXT_SIZE];
	struct buf list = BUF_EMPTY, line = BUF_EMPTY;
	struct span rest, item;

	buf_printf(&list, "[%s]", h->messages.len > 0 ? h->messages.bytes : "");
	rest = (struct span){list.bytes, list.len};
	while (buf_ok(&list) && json_next(&rest, &item)) {
		unsigned long long seq = message_seq(item);

		buf_clear(&line);
		plain_add_json(&line, item);
		if (v->arguments->json)
			printf("{\"topic\":\"%s\",\"seq\":%llu,\"cursor\":\"%s\",\"message\":%s}\n", s->topic, seq,
			       cursor_text(cursor, h->next.epoch, seq), buf_ok(&line) ? line.bytes : "null");
		else
			printf("%s %llu %s\n", s->topic, seq, buf_ok(&line) ? line.bytes : "no memory");
	}
	buf_free(&list);
	buf_free(&line);
}

/*	more	out: there may be more at once */
static enum err read_topic(struct tail_view *v, struct selected *s, bool *more)
{
	static const struct history_reader reader = {.user_id = COMMAND_USER, .role = ROLE_ADMIN};
	struct history h = {0};
	struct history_part part = {
		.has_since = s->has_cursor, .since = s->cursor, .limit = s->has_cursor ? PAGE : v->rewind};
	enum err e;

	memcpy(part.topic, s->topic, sizeof(part.topic));
	e = history_read(v->db, &reader, &part, &h);
	if (e == OK) {
		if (s->has_cursor && !h.recovered)
			tell_gap(v, s, &h);
		tell_messages(v, s, &h);
		*more = *more || (s->has_cursor && h.next.seq >= s->cursor.seq + PAGE);
		s->cursor = h.next;
		s->has_cursor = true;
	}
	buf_free(&h.messages);
	return e;
}

/* False: it cannot go on. */
static bool read_all(struct tail_view *v, int *status)
{
	bool more = false;

	for (size_t i = 0; i < v->topics->count && !ended; i++) {
		struct selected *s = &v->topics->items[i];
		enum err e = read_topic(v, s, &more);

		if (e == ERR_AWAY || e == ERR_BUSY) {
			if (!v->away)
				complain("%s; waiting for it", db_problem(v->db));
			v->away = true;
			more = false;
			break;
		}
		if (e == ERR_NOT_FOUND || e == ERR_FORBIDDEN) {
			complain("%s: %s", s->topic,
				 e == ERR_NOT_FOUND ? "there is no such diagnosis"
						    : "tidings.authorize() lets no administrator read it");
			*status = e == ERR_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_FAILED;
			return false;
		}
		if (e != OK) {
			*status = command_failed(v->db, e);
			return false;
		}
		if (v->away)
			complain("the database is back");
		v->away = false;
	}
	if (fflush(stdout) != 0)
		return false;
	if (!more && !ended)
		wait_a_moment();
	return true;
}

/* Where to go on from, for who was interrupted. */
static void tell_place(const struct tail_view *v)
{
	fputs("go on with --since ", stderr);
	for (size_t i = 0; i < v->topics->count; i++) {
		char cursor[CURSOR_TEXT_SIZE];

		fprintf(stderr, "%s%s", i > 0 ? "." : "",
			cursor_text(cursor, v->topics->items[i].cursor.epoch, v->topics->items[i].cursor.seq));
	}
	fputc('\n', stderr);
}

static bool select_topics(struct tail_view *v)
{
	struct buf names = BUF_EMPTY;
	enum err e = ERR_MEMORY;

	for (size_t i = 0; i < v->arguments->count; i++)
		buf_printf(&names, "%s%s", i > 0 ? "," : "", v->arguments->operands[i]);
	if (buf_ok(&names))
		e = selection_of_topics(&v->topics, (struct span){names.bytes, names.len},
					arguments_value(v->arguments, "since"));
	buf_free(&names);
	if (e != OK) {
		complain("the topics must be 1 to %d different names", SELECTION_MAX);
		return false;
	}
	for (size_t i = 0; i < v->topics->count; i++) {
		if (!v->topics->items[i].cursor_damaged)
			continue;
		complain("--since is a cursor for each topic, joined by ., as in 0a1b2c3d-17");
		return false;
	}
	return true;
}

int tail_command(const struct arguments *a)
{
	struct tail_view v = {.arguments = a};
	struct config config;
	int status = EXIT_WRONG;

	if (arguments_value(a, "since") && arguments_value(a, "rewind"))
		complain("--since or --rewind, not both");
	else if (arguments_number(a, "rewind", 1, PAGE, &v.rewind) && select_topics(&v))
		status = command_connect(&config, &v.db, "tidings_reader", "tidings tail");
	if (status == EXIT_DONE) {
		catch_signals();
		while (!ended && read_all(&v, &status))
			;
		if (ended && v.topics->items[v.topics->count - 1].has_cursor)
			tell_place(&v);
	}
	db_close(&v.db);
	free(v.topics);
	return status;
}
