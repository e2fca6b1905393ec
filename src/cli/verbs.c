#include "cli/verbs.h"

#include <stdio.h>
#include <string.h>

#include "cli/command.h"

#define HELP_COLUMN 22

static const char key_option[] = "Idempotency-Key: the same one within 24 hours publishes nothing more";

/* In the order of the manual. */
static const struct verb verbs[] = {
	{"publish",
	 "TOPIC TYPE [JSON|-]",
	 "publish a message; - reads its data from stdin",
	 publish_command,
	 {{"array", NULL, "JSON is an array: a message for each of its elements, all or none"},
	  {"ephemeral", NULL, "to who is connected, at most once, and not kept"},
	  {"to-user", "ID", "this user's connections alone get it"},
	  {"deliver-at", "TIME", "when (RFC 3339), at most a year ahead"},
	  {"key", "KEY", key_option}}},
	{"tail",
	 "TOPIC...",
	 "print the messages of topics as they come",
	 tail_command,
	 {{"since", "CURSOR", "at first what came after this place: of several topics each one's, joined by ."},
	  {"rewind", "N", "at first the newest N, at most 100"}}},
	{"status",
	 "",
	 "print how many are connected, to what, and what waits",
	 status_command,
	 {{"watch", NULL, "again every 2 s, until it is interrupted"}}},
	{"topics",
	 "",
	 "print topics, and what happens in them",
	 topics_command,
	 {{"by", "rate|lag|clients", "most messages a minute, most that nobody was sent, or most clients first (rate)"},
	  {"limit", "N", "so many at most (20)"}}},
	{"connections",
	 "",
	 "print who is connected",
	 connections_command,
	 {{"user", "ID", "this user's alone"},
	  {"topic", "TOPIC", "those of this topic"},
	  {"limit", "N", "so many at most (100)"}}},
	{"disconnect", "CONNECTION...", "close connections, and wait until they are gone", disconnect_command, {{0}}},
	{"reconnect", "USER...", "have all connections of users come again", reconnect_command, {{0}}},
	{"revoke",
	 "TOPIC [USER]",
	 "end a user's subscriptions to a topic, on all nodes",
	 revoke_command,
	 {{"anonymous", NULL, "of those who have no token"},
	  {"everyone", NULL, "everybody's; who may is let in again"}}},
	{"outbox list",
	 "",
	 "print what waits to be relayed, and what was given up",
	 outbox_list_command,
	 {{"failed", NULL, "what was given up, alone"}, {"limit", "N", "so many at most (100)"}}},
	{"outbox retry",
	 "[ID...]",
	 "have what was given up relayed now",
	 outbox_retry_command,
	 {{"all", NULL, "all of it"}}},
	{"outbox drop",
	 "[ID...]",
	 "forget what was given up: it will not be sent",
	 outbox_drop_command,
	 {{"all", NULL, "all of it"}}},
	{"forget",
	 "USER",
	 "erase what is kept about a user, and say what that was",
	 forget_command,
	 {{"yes", NULL, "without asking"}}},
	{"keys new",
	 "KID",
	 "make a key in the folder TIDINGS_JWT_KEYS",
	 keys_new_command,
	 {{"alg", "ALG", "its algorithm (HS256)"},
	  {"private", "FILE", "where the private key of RS, PS, ES or EdDSA goes, which the folder does not hold"}}},
	{"keys list", "", "print the keys by name, without what is in them", keys_list_command, {{0}}},
	{"keys check", "", "try every key", keys_check_command, {{0}}},
	{"keys fetch",
	 "URL",
	 "get an identity provider's keys, for TIDINGS_JWT_JWKS",
	 keys_fetch_command,
	 {{"ca", "FILE", "certificates of an authority of your own"}}},
	{"token",
	 "",
	 "print a token that lets a user in, or what one says",
	 token_command,
	 {{"user", "ID", "whom it is for"},
	  {"role", "user|clinician|service|admin", "(user)"},
	  {"ttl", "SECONDS", "how long it is good for (3600)"},
	  {"kid", "KID", "the key to sign with, and to name in it (default)"},
	  {"alg", "ALG", "the algorithm (the first of TIDINGS_JWT_ALGORITHMS that there is a key for)"},
	  {"key", "FILE", "sign with this private key in PEM, not with a secret of TIDINGS_JWT_KEYS"},
	  {"verify", NULL, "read one from stdin, say whether it is good, and for whom"}}},
	{"migrate",
	 "",
	 "bring the database's schema up to date",
	 migrate_command,
	 {{"status", NULL, "say what is missing, and change nothing"},
	  {"dry-run", NULL, "do all of it in one transaction, and take it back"},
	  {"dir", "DIR", "where the SQL files are (" TIDINGS_SQL_DIR ")"}}},
	{"epoch renew",
	 "",
	 "after a restore: every client is told that it may have missed something",
	 epoch_renew_command,
	 {{0}}},
	{"epoch timeline", "yes|no", "whether a failover does the same", epoch_timeline_command, {{0}}},
	{"doctor",
	 "",
	 "look at settings, keys, roles, schema, server, notifications, sidecars; say what is wrong",
	 doctor_command,
	 {{"url", "URL", "and at the web server there: whether it has all routes"},
	  {"dir", "DIR", "where the SQL files of migrate are (" TIDINGS_SQL_DIR ")"}}},
	{"canary",
	 "",
	 "subscribe, publish, compare, by every transport: for cron and monitoring",
	 canary_command,
	 {{"url", "URL", "the web server (http://localhost:8000)"},
	  {"by", "websocket|sse|long-poll", "this transport alone"},
	  {"topic", "TOPIC", "where (canary)"},
	  {"timeout", "SECONDS", "how long a message may take (10)"},
	  {"publish-token", "FILE", "a service's token, instead of one that is made with the secret default"},
	  {"listen-token", "FILE", "of who may listen to that topic, instead of an administrator's"}}},
};

static size_t first_word(const char *name)
{
	return strcspn(name, " ");
}

static bool begins_with_word(const char *name, const char *word)
{
	return first_word(name) == strlen(word) && memcmp(name, word, strlen(word)) == 0;
}

const struct verb *verbs_find(int argc, char **argv, int *words)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		const char *second = strchr(verbs[i].name, ' ');

		if (argc < 1 || !begins_with_word(verbs[i].name, argv[0]))
			continue;
		if (!second || (argc > 1 && strcmp(argv[1], second + 1) == 0)) {
			*words = second ? 2 : 1;
			return &verbs[i];
		}
	}
	return NULL;
}

bool verbs_is_first_word(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (begins_with_word(verbs[i].name, word))
			return true;
	return false;
}

void verbs_add_help(struct buf *out)
{
	buf_add_text(out, "usage: tidings VERB [OPERAND...] [--option...]\n\n");
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		buf_printf(out, "  %-16s%s\n", verbs[i].name, verbs[i].help);
	buf_add_text(out, "\n"
			  "  tidings VERB --help tells more of each; --json has it print JSON\n"
			  "  tidings --check-config prints the configuration; --help, --version\n"
			  "\n"
			  "The configuration is the environment: see tidings.conf(5). Exit status: see tidings(1).\n");
}

/* An option whose words are many has its help on a line of its own. */
static void add_option(struct buf *out, const struct verb_option *o)
{
	size_t before = out->len;

	buf_printf(out, "  --%s %s ", o->name, o->value ? o->value : "");
	if (out->len - before > HELP_COLUMN) {
		buf_add_text(out, "\n");
		before = out->len;
	}
	buf_printf(out, "%*s%s\n", (int)(HELP_COLUMN - (out->len - before)), "", o->help);
}

void verbs_add_help_of_one(struct buf *out, const struct verb *verb)
{
	buf_add_text(out, "usage: ");
	arguments_add_usage(out, verb);
	buf_printf(out, "\n\n  %s\n", verb->help);
	for (size_t i = 0; i < VERB_OPTIONS_MAX && verb->options[i].name; i++) {
		if (i == 0)
			buf_add_text(out, "\n");
		add_option(out, &verb->options[i]);
	}
}

void verbs_add_help_of(struct buf *out, const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (!begins_with_word(verbs[i].name, word))
			continue;
		if (out->len > 0)
			buf_add_text(out, "\n");
		verbs_add_help_of_one(out, &verbs[i]);
	}
}

/* ---- what a word may become */

static void offer(struct buf *out, const char *word, size_t len, const char *begun)
{
	if (len >= strlen(begun) && memcmp(word, begun, strlen(begun)) == 0)
		buf_printf(out, "%.*s\n", (int)len, word);
}

/* Each of "a|b|c", which ends at a space. */
static void offer_words(struct buf *out, const char *words, const char *begun)
{
	for (;;) {
		size_t len = strcspn(words, "| ");

		offer(out, words, len, begun);
		if (words[len] != '|')
			return;
		words += len + 1;
	}
}

static void offer_names(struct buf *out, int count, char **words)
{
	const char *begun = words[count - 1];

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		const char *name = verbs[i].name, *second = strchr(name, ' ');
		size_t len = first_word(name);

		if (count == 2 && second && begins_with_word(name, words[0]))
			offer(out, second + 1, strlen(second + 1), begun);
		else if (count == 1 &&
			 (i == 0 || len != first_word(verbs[i - 1].name) || memcmp(name, verbs[i - 1].name, len) != 0))
			offer(out, name, len, begun);
	}
	if (count == 1)
		offer_words(out, "--check-config|--help|--version", begun);
}

static const struct verb_option *find_option(const struct verb *verb, const char *word)
{
	for (size_t i = 0; i < VERB_OPTIONS_MAX && verb->options[i].name; i++)
		if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, verb->options[i].name) == 0)
			return &verb->options[i];
	return NULL;
}

static void offer_options(struct buf *out, const struct verb *verb, const char *begun)
{
	for (size_t i = 0; i < VERB_OPTIONS_MAX && verb->options[i].name; i++) {
		char word[32];

		snprintf(word, sizeof(word), "--%s", verb->options[i].name);
		offer(out, word, strlen(word), begun);
	}
	offer_words(out, "--json|--help", begun);
}

/* What stands at that place, where it is a word of its own. */
static void offer_operand(struct buf *out, const struct verb *verb, size_t place, const char *begun)
{
	const char *operands = verb->operands;
	struct span word;

	while (arguments_next_operand(&operands, &word))
		if (place-- == 0 && word.bytes[0] >= 'a' && word.bytes[0] <= 'z')
			offer_words(out, word.bytes, begun);
}

void verbs_complete(struct buf *out, int count, char **words)
{
	const char *begun = count > 0 ? words[count - 1] : "";
	const struct verb_option *before = NULL;
	const struct verb *verb = NULL;
	size_t place = 0;
	int used = 0;

	if (count < 1)
		return;
	verb = verbs_find(count - 1, words, &used);
	if (!verb) {
		offer_names(out, count, words);
		return;
	}
	for (int i = used; i < count - 1; i++) {
		bool is_value = before && before->value;

		before = is_value ? NULL : find_option(verb, words[i]);
		place += !is_value && words[i][0] != '-';
	}
	if (before && before->value) {
		if (strchr(before->value, '|'))
			offer_words(out, before->value, begun);
	} else if (begun[0] == '-') {
		offer_options(out, verb, begun);
	} else {
		offer_operand(out, verb, place, begun);
	}
}
