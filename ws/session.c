#include "ws/session.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log/log.h"
#include "ws/user.h"

#define TAKING_BYTES 16384 /* that have to leave within TIDINGS_SLOW_TIMEOUT, while more waits */
/* Bytes that wait for one socket, a page of what it missed and replies, before it counts as too slow. */
#define PENDING_MAX (1 << 20)
#define LEAVING_MS 5000 /* for what comes before the end of its subscriptions */
#define CLOSING_MAX 256 /* sessions that are being closed, before those without a user are not waited for */

/* ---- its subscriptions */

bool session_subscribe(struct session *s, const struct selection *selection)
{
	s->subscriptions = calloc(selection->count, sizeof(s->subscriptions[0]));
	for (size_t i = 0; s->subscriptions && i < selection->count; i++) {
		struct subscription *sub = subscription_new(&selection->items[i], &s->id, s->transport->name);

		if (!sub)
			return false;
		sub->session = s;
		sub->subscriber.reader.inflates = s->inflates;
		s->subscriptions[s->subscriptions_count++] = sub;
	}
	return s->subscriptions != NULL;
}

struct subscription *session_add(struct session *s, const struct selected *wanted)
{
	size_t size = (s->subscriptions_count + 1) * sizeof(s->subscriptions[0]);
	struct subscription **grown = realloc(s->subscriptions, size);
	struct subscription *sub;

	if (!grown)
		return NULL;
	s->subscriptions = grown;
	sub = subscription_new(wanted, &s->id, s->transport->name);
	if (!sub)
		return NULL;
	sub->session = s;
	sub->subscriber.reader.user_id = s->user ? s->user->id : NULL;
	sub->subscriber.reader.inflates = s->inflates;
	s->subscriptions[s->subscriptions_count++] = sub;
	return sub;
}

void session_drop(struct session *s, struct subscription *sub)
{
	unsigned i = 0;

	while (s->subscriptions[i] != sub)
		i++;
	for (; i + 1 < s->subscriptions_count; i++)
		s->subscriptions[i] = s->subscriptions[i + 1];
	s->subscriptions_count--;
	s->turn = 0;
	if (sub->asking) {
		s->asking = false;
		s->asked_ms = 0;
	}
	subscription_end(sub, s->node);
	subscription_unref(sub);
}

bool session_awaits(const struct subscription *sub, enum subscription_state state)
{
	const struct session *s = sub->session;

	return sub->state == state && s && s->state == SESSION_OPEN &&
	       (s->leave_by_ms == 0 || sub->subscriber.ends_seq != 0);
}

bool session_all_are(const struct session *s, enum subscription_state state)
{
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		if (s->subscriptions[i]->state != state)
			return false;
	return true;
}

struct subscription *session_turn(const struct session *s, unsigned i)
{
	return s->subscriptions[(s->turn + i) % s->subscriptions_count];
}

void session_pass_turn(struct session *s, const struct subscription *sub)
{
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		if (s->subscriptions[i] == sub)
			s->turn = i + 1;
}

/* Its socket takes no more: the hub leaves all of them alone. */
static void hush(struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		hub_wait(s->node->hub, &s->subscriptions[i]->subscriber);
}

/* ---- writing */

void session_expect(const struct session *s)
{
	__builtin_prefetch(&s->transport);
	__builtin_prefetch(&s->state);
}

bool session_is_clear(const struct session *s)
{
	return s->state != SESSION_CLOSING && s->choked_ms == 0 && s->out.len == 0;
}

/* The socket is of no use any more. It is shut by the next tick: never inside a callback or the fan-out. */
static void give_up(struct session *s)
{
	s->broken = true;
	session_set_deadline(s, clock_monotonic_ms());
}

/* Bytes that have left for the client. */
static int64_t count_left(const struct session *s)
{
	return s->given_bytes - s->transport->queued(s->socket);
}

/* The socket takes nothing more. */
static void choke(struct session *s)
{
	s->choked_ms = clock_monotonic_ms();
	s->left_bytes = count_left(s);
	session_set_deadline(s, s->choked_ms);
}

static void note_taken(struct session *s, int64_t now_ms)
{
	s->taken_ms = now_ms;
	budget_taken(&s->node->budget, &s->holding, now_ms);
}

void session_look(struct session *s, int64_t now_ms)
{
	int64_t left = count_left(s);

	if (left - s->left_bytes < TAKING_BYTES)
		return;
	s->choked_ms = now_ms;
	s->left_bytes = left;
	note_taken(s, now_ms);
}

/* ---- what is held for it */

static size_t held_bytes(const struct session *s)
{
	return s->out.size + s->held.size + s->in.size + s->early.size + s->marks.size;
}

static struct session *session_of(struct holding *h)
{
	return (struct session *)((char *)h - offsetof(struct session, holding));
}

/* The end of the message in `out` that its client has begun to take. */
static size_t begun_end(const struct session *s)
{
	return s->voice->whole_after((struct span){s->out.bytes, s->out.len}, s->out_whole, s->out_at);
}

/* What the socket has of `out` is forgotten. */
static void drop_given(struct session *s)
{
	s->out_whole = begun_end(s) - s->out_at;
	buf_drop(&s->out, s->out_at);
	s->out_at = 0;
}

/* What its client has not begun to take: it is sent again to whoever resumes, or waits for its topic's next client. */
static void free_unbegun(struct session *s)
{
	size_t end;

	if (s->out.len == 0)
		return;
	end = begun_end(s);
	if (end == s->out.len)
		return;
	buf_cut(&s->out, end);
	drop_given(s);
	buf_free(&s->marks);
}

/* Its client is told so, behind what it is reading; one that was told already, and takes nothing still, is cut. */
static void give_up_holding(struct session *s)
{
	const struct node *n = s->node;

	buf_free(&s->in);
	if (s->early.len > 0)
		s->keep_alive = false;
	buf_free(&s->early);
	if (s->state != SESSION_CLOSING) {
		log_info("closing a client: too many bytes are held for clients bytes=%zu all=%zu transport=%s",
			 s->holding.bytes, n->budget.bytes, s->transport->name);
		free_unbegun(s);
		session_close(s, CLOSE_TRY_LATER, s->out.len > 0 ? "reading too slowly" : "try again later");
	} else {
		buf_free(&s->out);
		buf_free(&s->held);
		buf_free(&s->marks);
		s->out_at = s->out_whole = 0;
		s->close_sent = true;
		give_up(s);
	}
	budget_hold(&s->node->budget, &s->holding, held_bytes(s), clock_monotonic_ms());
	budget_taken(&s->node->budget, &s->holding, clock_monotonic_ms());
}

void session_charge(struct session *s)
{
	struct budget *b = &s->node->budget;
	size_t bytes = held_bytes(s);
	int64_t now_ms;

	if (bytes == s->holding.bytes)
		return;
	now_ms = clock_monotonic_ms();
	budget_hold(b, &s->holding, bytes, now_ms);
	while (budget_is_over(b)) {
		struct holding *h = budget_largest_idle(b, now_ms);

		if (!h)
			h = budget_largest(b);
		if (!h)
			return;
		give_up_holding(session_of(h));
	}
}

bool session_make_room(struct node *n, size_t bytes)
{
	int64_t now_ms = clock_monotonic_ms();
	struct holding *h;

	while (!budget_has_room(&n->budget, bytes)) {
		h = budget_largest_idle(&n->budget, now_ms);
		if (!h)
			return false;
		give_up_holding(session_of(h));
	}
	return true;
}

/* What the socket did not take of these bytes waits. */
static void keep(struct session *s, struct span bytes, size_t took)
{
	s->out_whole = s->voice->whole_after(bytes, 0, took) - took;
	buf_add(&s->out, bytes.bytes + took, bytes.len - took);
	if (!buf_ok(&s->out))
		give_up(s);
	session_charge(s);
}

/* As much of these bytes as the socket takes; from then on it is choked, or broken. */
static size_t write_some(struct session *s, struct span bytes)
{
	bool full = false;
	ssize_t took = s->transport->write(s->socket, bytes, &full);

	if (took < 0) {
		s->choked_ms = clock_monotonic_ms();
		give_up(s);
		return bytes.len;
	}
	s->given_bytes += took;
	if (full)
		choke(s);
	return (size_t)took;
}

static void write_or_keep(struct session *s, struct span bytes)
{
	size_t took = write_some(s, bytes);

	if (took < bytes.len)
		keep(s, bytes, took);
}

void session_add_mark(struct session *s, const struct mark *mark)
{
	buf_add(&s->marks, mark, sizeof(*mark));
}

/* Nothing of what it was given waits here. A poll is given nothing before its reply. */
static bool all_has_left(const struct session *s)
{
	return !s->broken && s->choked_ms == 0 && s->out.len == 0 && (s->held.len == 0 || s->close_sent);
}

/* The topic as the session has it: another that was made under its id meanwhile is numbered anew. NULL: it has not. */
static struct hub_topic *topic_of(const struct session *s, int64_t id)
{
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		if (subscription_topic_id(s->subscriptions[i]) == id)
			return s->subscriptions[i]->subscriber.topic;
	return NULL;
}

static void settle(struct session *s)
{
	const struct mark *marks = (const struct mark *)(const void *)s->marks.bytes;

	if (!all_has_left(s))
		return;
	for (size_t i = 0; i < s->marks.len / sizeof(*marks); i++) {
		struct hub_topic *t = topic_of(s, marks[i].topic_id);

		if (t)
			hub_delivered(s->node->hub, t, marks[i].seq, marks[i].private);
	}
	buf_free(&s->marks);
}

enum hub_written session_write_now(struct session *s, struct span bytes, const struct mark *mark)
{
	if (s->state == SESSION_CLOSING)
		return HUB_KEPT;
	write_or_keep(s, bytes);
	if (s->choked_ms == 0)
		return HUB_SENT;
	/* Given up: nobody will say that it has left. */
	if (s->state == SESSION_CLOSING)
		return HUB_KEPT;
	session_add_mark(s, mark);
	hush(s);
	return HUB_KEPT;
}

/*
 * As much of `out` as the socket takes.
 *
 *	fresh	`out` has just been given, and may be larger than what is in it
 *
 * What the socket has of it is not forgotten before it is much: all that waits is moved then.
 */
static void pump(struct session *s, bool fresh)
{
	if (s->out_at < s->out.len && s->choked_ms == 0)
		s->out_at += write_some(s, (struct span){s->out.bytes + s->out_at, s->out.len - s->out_at});
	if (s->out_at == s->out.len) {
		buf_free(&s->out);
		s->out_at = s->out_whole = 0;
	} else if (fresh || s->out_at > (s->out.len - s->out_at) / 2) {
		drop_given(s);
	}
	session_charge(s);
	settle(s);
}

void session_write(struct session *s, struct buf *bytes)
{
	bool fresh = s->out.len == 0;

	if (s->state == SESSION_CLOSING) {
		buf_free(bytes);
		return;
	}
	/* Of a message that found no memory there may be a part, or a header alone. */
	if (!buf_ok(bytes)) {
		buf_free(bytes);
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	if (fresh) {
		s->out = *bytes;
		*bytes = BUF_EMPTY;
	} else {
		buf_add(&s->out, bytes->bytes, bytes->len);
		buf_free(bytes);
		if (s->out.len - s->out_at > PENDING_MAX) {
			session_close(s, CLOSE_TRY_LATER, "reading too slowly");
			return;
		}
	}
	if (!buf_ok(&s->out)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	pump(s, fresh);
	if (!session_is_clear(s))
		hush(s);
}

static void tell(struct buf *to, const struct session *s, const struct buf *text)
{
	s->voice->reply(to, (struct span){text->bytes, text->len});
	if (!buf_ok(text))
		to->failed = true;
}

void session_send(struct session *s, const struct buf *text)
{
	struct buf frame = BUF_EMPTY;

	tell(&frame, s, text);
	session_write(s, &frame);
}

void session_hold(struct session *s, const struct buf *text)
{
	tell(&s->held, s, text);
	if (!buf_ok(&s->held))
		session_close(s, CLOSE_TRY_LATER, "try again later");
	session_charge(s);
}

void session_send_held(struct session *s)
{
	if (s->held.len > 0)
		session_write(s, &s->held);
}

/* Many without a user come only to be sent away: they would be as many as may be closing, and nobody else would be served. */
static bool is_waited_for(const struct session *s)
{
	return s->user || s->node->closing_count <= CLOSING_MAX;
}

/* Now the client has its time to take it, and to answer. */
static void say_goodbye(struct session *s)
{
	s->close_sent = true;
	s->voice->goodbye(&s->out, s);
	buf_free(&s->held);
	if (!buf_ok(&s->out)) {
		buf_free(&s->out);
		s->broken = true;
	}
}

bool session_drained(struct session *s)
{
	int64_t choked_ms = s->choked_ms, left = s->left_bytes, now_ms = clock_monotonic_ms();
	enum session_state state = s->state;

	s->choked_ms = 0;
	pump(s, false);
	if (s->choked_ms != 0 && choked_ms != 0 && s->state == state) {
		s->choked_ms = choked_ms;
		s->left_bytes = left;
		session_look(s, now_ms);
	} else if (s->choked_ms == 0 && choked_ms != 0) {
		note_taken(s, now_ms);
	}
	if (s->state == SESSION_CLOSING) {
		if (!s->close_sent && s->out.len == 0) {
			say_goodbye(s);
			pump(s, false);
			if (s->voice->frames_as_they_are && all_has_left(s) && !is_waited_for(s))
				s->transport->shut(s->socket);
		}
		session_set_deadline(s, now_ms);
	} else if (choked_ms != 0) {
		session_set_deadline(s, now_ms);
	}
	return s->choked_ms == 0 && s->out.len == 0;
}

bool session_is_over(const struct session *s)
{
	return s->close_sent && all_has_left(s);
}

/* ---- who it is */

void session_await(struct session *s)
{
	struct node *n = s->node;

	s->is_stranger = true;
	TAILQ_INSERT_TAIL(&n->strangers, s, strange);
	n->strangers_count++;
}

static void leave_strangers(struct session *s)
{
	struct node *n = s->node;

	if (!s->is_stranger)
		return;
	s->is_stranger = false;
	TAILQ_REMOVE(&n->strangers, s, strange);
	n->strangers_count--;
}

void session_open(struct session *s)
{
	leave_strangers(s);
	s->state = SESSION_OPEN;
	session_set_deadline(s, clock_monotonic_ms());
}

/* ---- closing */

/* It gets nothing more but its end, once its socket takes that. */
static void begin_closing(struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		hub_leave(&s->subscriptions[i]->subscriber);
	session_drop_unfinished(s);
	leave_strangers(s);
	s->state = SESSION_CLOSING;
	s->node->closing_count++;
	/* To take its end it has its time anew. */
	if (s->choked_ms != 0)
		choke(s);
	s->transport->want_writable(s->socket);
	session_set_deadline(s, clock_monotonic_ms());
}

void session_refuse(struct session *s, int status, enum close_code code, const char *reason)
{
	if (s->state == SESSION_CLOSING)
		return;
	s->close_code = (uint16_t)code;
	s->close_reason = reason;
	s->status = (uint16_t)status;
	log_debug("closing code=%d reason=\"%s\"", code, reason);
	begin_closing(s);
}

void session_close(struct session *s, enum close_code code, const char *reason)
{
	session_refuse(s, 503, code, reason);
}

void session_finish(struct session *s, struct buf *bytes)
{
	if (s->state != SESSION_CLOSING) {
		s->close_sent = true;
		s->out = *bytes;
		*bytes = BUF_EMPTY;
		if (!buf_ok(&s->out)) {
			buf_free(&s->out);
			s->broken = true;
		}
		buf_free(&s->held);
		begin_closing(s);
		session_charge(s);
	}
	buf_free(bytes);
}

enum hub_written session_finish_now(struct session *s, struct span bytes, const struct mark *mark)
{
	if (s->state == SESSION_CLOSING)
		return HUB_KEPT;
	begin_closing(s);
	s->close_sent = true;
	buf_free(&s->held);
	write_or_keep(s, bytes);
	session_charge(s);
	settle(s);
	if (all_has_left(s))
		return HUB_SENT_LAST;
	session_add_mark(s, mark);
	return HUB_KEPT;
}

void session_leave(struct session *s)
{
	if (s->state == SESSION_CLOSING || s->leave_by_ms != 0)
		return;
	s->leave_by_ms = clock_monotonic_ms() + LEAVING_MS;
	session_set_deadline(s, clock_monotonic_ms());
}

/* ---- what it says */

void session_heard(struct session *s)
{
	s->heard_ms = clock_monotonic_ms();
}

void session_keep_unfinished(struct session *s)
{
	struct node *n = s->node;

	n->unfinished_bytes += (int64_t)s->in.size - (int64_t)s->unfinished_bytes;
	s->unfinished_bytes = s->in.size;
	if (s->unfinished_ms == 0) {
		s->unfinished_ms = s->heard_ms;
		TAILQ_INSERT_TAIL(&n->unfinished, s, begun);
		session_set_deadline(s, s->heard_ms);
	}
	session_charge(s);
}

void session_drop_unfinished(struct session *s)
{
	struct node *n = s->node;

	buf_free(&s->in);
	budget_hold(&n->budget, &s->holding, held_bytes(s), clock_monotonic_ms());
	if (s->unfinished_ms == 0)
		return;
	n->unfinished_bytes -= (int64_t)s->unfinished_bytes;
	s->unfinished_bytes = 0;
	s->unfinished_ms = 0;
	TAILQ_REMOVE(&n->unfinished, s, begun);
}

/* ---- beginning and end */

/* Of random bytes that are fetched for 16 at a time: a system call takes longer than all else here. */
static bool new_id(struct uuid *id)
{
	static uint8_t random[256]; /* so many come whole, or not at all */
	static size_t left;

	if (left == 0 && getrandom(random, sizeof(random), 0) == sizeof(random))
		left = sizeof(random);
	if (left == 0)
		return false;
	left -= UUID_BYTES;
	*id = uuid_of_random(random + left);
	return true;
}

/* False: no memory. */
static bool add_by_id(struct session *s)
{
	HASH_ADD(by_id, s->node->sessions_by_id, id, sizeof(s->id), s);
	return HASH_HAS(by_id, s);
}

bool session_rename(struct session *s, const struct uuid *id)
{
	HASH_DELETE(by_id, s->node->sessions_by_id, s);
	s->by_id = (UT_hash_handle){0};
	s->id = *id;
	return add_by_id(s);
}

void session_belong(struct session *s, struct user *user)
{
	s->user = user;
	TAILQ_INSERT_TAIL(&user->sessions, s, of_user);
}

struct session *session_new(struct node *n, const struct transport *transport, const struct voice *voice)
{
	struct session *s = calloc(1, sizeof(*s));

	if (s)
		s->node = n;
	if (!s || !new_id(&s->id) || !add_by_id(s)) {
		free(s);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&n->sessions, s, link);
	n->sessions_count++;
	n->sessions_opened++;
	s->transport = transport;
	s->voice = voice;
	s->opened_ms = s->heard_ms = clock_monotonic_ms();
	session_set_deadline(s, s->opened_ms);
	return s;
}

void session_end(struct session *s)
{
	struct node *n = s->node;

	for (unsigned i = 0; i < s->subscriptions_count; i++) {
		subscription_end(s->subscriptions[i], n);
		subscription_unref(s->subscriptions[i]);
	}
	if (s->self) {
		s->self->session = NULL;
		subscription_unref(s->self);
	}
	if (s->user) {
		TAILQ_REMOVE(&s->user->sessions, s, of_user);
		user_leave(s->endpoint ? &n->live_users : &n->users, s->user);
	}
	wheel_unset(&s->wheel);
	if (HASH_HAS(by_id, s))
		HASH_DELETE(by_id, n->sessions_by_id, s);
	TAILQ_REMOVE(&n->sessions, s, link);
	n->sessions_count--;
	leave_strangers(s);
	session_drop_unfinished(s);
	n->closing_count -= s->state == SESSION_CLOSING;
	budget_hold(&n->budget, &s->holding, 0, 0);
	free(s->subscriptions);
	buf_free(&s->out);
	buf_free(&s->held);
	buf_free(&s->marks);
	buf_free(&s->early);
	free(s->allowed_origin);
	free(s);
}
