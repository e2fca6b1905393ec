#include "ws/dialog/reply.h"

#include "domain/dialog/live_text.h"
#include "ws/node.h"
#include "ws/session/session_output.h"

void reply_say(struct session *s, struct buf *text)
{
	session_send(s, text);
	buf_free(text);
}

void reply_error(struct session *s, const char *code, const char *message, const char *correlation)
{
	struct buf text = BUF_EMPTY;

	live_text_error(&text, code, message, NULL, correlation, clock_wall_us());
	reply_say(s, &text);
}

static void refuse(struct session *s, const char *code, const char *message, const struct problem *wrong,
		   const char *correlation)
{
	struct buf text = BUF_EMPTY;

	if (!dialog_bear(&s->dialog, &s->node->dialog_limits, s->times.heard_ms * 1000)) {
		session_close_bad(s);
	} else {
		live_text_error(&text, code, message, wrong, correlation, clock_wall_us());
		reply_say(s, &text);
	}
}

void reply_refuse(struct session *s, const char *code, const char *message, const char *correlation)
{
	refuse(s, code, message, NULL, correlation);
}

void reply_refuse_member(struct session *s, const char *sentence, const char *correlation)
{
	struct problem wrong = PROBLEM_NONE;

	problem_add_sentence(&wrong, sentence);
	refuse(s, "invalid_message", wrong.detail, &wrong, correlation);
	problem_free(&wrong);
}

void reply_refuse_fault(struct session *s, const struct client_fault *fault, const char *correlation)
{
	refuse(s, fault->code, fault->sentence, &fault->problem, correlation);
}
