#include "base/process/config.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log/audit_sink.h"
#include "base/log/log.h"
#include "base/net/address.h"
#include "base/process/words.h"

#define PREFIX "TIDINGS_"

enum kind { KIND_TEXT, KIND_NUMBER, KIND_CHOICE, KIND_OTHER };

struct option {
	const char *name;
	enum kind kind;
	size_t offset;	  /* of the field in struct config */
	const char *text; /* KIND_TEXT: default; KIND_CHOICE: the words */
	int64_t number;	  /* KIND_NUMBER and KIND_CHOICE: default */
	int64_t min;	  /* KIND_NUMBER */
	int64_t max;
};

static const struct option options[] = {
#define TEXT(NAME, FIELD, VALUE) \
	{.name = NAME, .kind = KIND_TEXT, .offset = offsetof(struct config, FIELD), .text = VALUE},
#define NUMBER(NAME, FIELD, VALUE, MIN_, MAX_)     \
	{.name = NAME,                             \
	 .kind = KIND_NUMBER,                      \
	 .offset = offsetof(struct config, FIELD), \
	 .number = VALUE,                          \
	 .min = MIN_,                              \
	 .max = MAX_},
#define CHOICE(NAME, FIELD, VALUE, WORDS) \
	{.name = NAME, .kind = KIND_CHOICE, .offset = offsetof(struct config, FIELD), .number = VALUE, .text = WORDS},
#define OTHER(NAME) {.name = NAME, .kind = KIND_OTHER},
#include "base/process/options.def"
};

static const char *const reloaded[] = {
#define RELOADED(NAME) NAME,
#include "base/process/options.def"
};

static const char *_Atomic *text_field(struct config *c, const struct option *o)
{
	return (const char *_Atomic *)(void *)((char *)c + o->offset);
}

static _Atomic int64_t *number_field(struct config *c, const struct option *o)
{
	return (_Atomic int64_t *)(void *)((char *)c + o->offset);
}

static _Atomic int *choice_field(struct config *c, const struct option *o)
{
	return (_Atomic int *)(void *)((char *)c + o->offset);
}

static void set_default(struct config *c, const struct option *o)
{
	switch (o->kind) {
	case KIND_TEXT:
		*text_field(c, o) = o->text;
		break;
	case KIND_NUMBER:
		*number_field(c, o) = o->number;
		break;
	case KIND_CHOICE:
		*choice_field(c, o) = (int)o->number;
		break;
	case KIND_OTHER:
		break;
	}
}

/* Decimal digits, a minus sign before them at most. */
static bool parse_number(const char *text, int64_t *number)
{
	bool negative = text[0] == '-';
	int64_t value = 0;

	text += negative;
	if (*text == '\0')
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		int64_t digit = *text - '0';

		if (value > (INT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*number = negative ? -value : value;
	return true;
}

static void read_text(struct config *c, const struct option *o, const char *value, struct buf *problems)
{
	struct span bad;

	if (o->offset == offsetof(struct config, trusted_proxies) && !address_list_valid(value, &bad))
		buf_printf(problems,
			   "%s must be addresses, networks such as 192.0.2.0/24 and unix, separated by commas, not "
			   "\"%.*s\"\n",
			   o->name, (int)bad.len, bad.bytes);
	else if (o->offset == offsetof(struct config, audit_log) && !audit_sink_valid(value))
		buf_printf(problems, "%s must be an absolute path, syslog or journal, not \"%s\"\n", o->name, value);
	else
		*text_field(c, o) = value;
}

static void read_value(struct config *c, const struct option *o, const char *value, struct buf *problems)
{
	int64_t number = 0;
	int index = -1;

	switch (o->kind) {
	case KIND_TEXT:
		read_text(c, o, value, problems);
		break;
	case KIND_NUMBER:
		if (!parse_number(value, &number) || number < o->min || number > o->max)
			buf_printf(problems, "%s must be a whole number from %" PRId64 " to %" PRId64 ", not \"%s\"\n",
				   o->name, o->min, o->max, value);
		else
			*number_field(c, o) = number;
		break;
	case KIND_CHOICE:
		index = words_index(o->text, value);
		if (index < 0)
			buf_printf(problems, "%s must be one of %s, not \"%s\"\n", o->name, o->text, value);
		else
			*choice_field(c, o) = index;
		break;
	case KIND_OTHER:
		break;
	}
}

static const struct option *find_option(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (strlen(options[i].name) == len && memcmp(options[i].name, name, len) == 0)
			return &options[i];
	return NULL;
}

enum err config_read(struct config *c, char **environment, struct buf *problems)
{
	size_t problems_before = problems->len;

	memset(c, 0, sizeof(*c));
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		set_default(c, &options[i]);
	for (char **entry = environment; *entry; entry++) {
		size_t len = strcspn(*entry, "=");
		const struct option *o = NULL;

		if (strncmp(*entry, PREFIX, strlen(PREFIX)) != 0)
			continue;
		o = find_option(*entry, len);
		if (!o)
			buf_printf(problems, "%.*s is not an option of tidings\n", (int)len, *entry);
		else if ((*entry)[len] == '=' && (*entry)[len + 1] != '\0')
			read_value(c, o, *entry + len + 1, problems);
	}
	return buf_ok(problems) && problems->len == problems_before ? OK : ERR_CONFIG;
}

/* The end of a value of a connection string: quoted in '…', or up to a space; \ takes the next byte as it is. */
static const char *value_end(const char *value)
{
	bool quoted = *value == '\'';

	for (value += quoted; *value; value++) {
		if (*value == '\\' && value[1] != '\0')
			value++;
		else if (quoted ? *value == '\'' : *value == ' ')
			return value + quoted;
	}
	return value;
}

/* postgresql://user:PASSWORD@host/…, and …password=PASSWORD… in either form. */
static void print_database(const char *text, struct buf *out)
{
	const char *authority = strstr(text, "://");

	if (authority) {
		const char *start = authority + 3;
		const char *at = start + strcspn(start, "/?");
		const char *colon = memchr(start, ':', (size_t)(at - start));

		while (at > start && *at != '@')
			at--;
		if (colon && colon < at) {
			buf_add(out, text, (size_t)(colon + 1 - text));
			buf_add_text(out, "***");
			text = at;
		}
	}
	for (;;) {
		const char *password = strstr(text, "password");
		const char *value = password ? password + strlen("password") : NULL;

		while (value && *value == ' ')
			value++;
		if (!value || *value != '=') {
			size_t len = value ? (size_t)(value - text) : strlen(text);

			buf_add(out, text, len);
			if (!value)
				return;
			text = value;
			continue;
		}
		value++;
		while (*value == ' ')
			value++;
		buf_add(out, text, (size_t)(value - text));
		buf_add_text(out, "***");
		text = authority ? value + strcspn(value, "&") : value_end(value);
	}
}

static void print_option(struct config *c, const struct option *o, struct buf *out)
{
	const char *text = NULL;
	struct span word;

	switch (o->kind) {
	case KIND_TEXT:
		text = *text_field(c, o);
		buf_printf(out, "%s=", o->name);
		if (text && (o->offset == offsetof(struct config, database) ||
			     o->offset == offsetof(struct config, listen_database)))
			print_database(text, out);
		else if (text)
			buf_add_text(out, text);
		break;
	case KIND_NUMBER:
		buf_printf(out, "%s=%" PRId64, o->name, *number_field(c, o));
		break;
	case KIND_CHOICE:
		word = words_at(o->text, *choice_field(c, o));
		buf_printf(out, "%s=%.*s", o->name, (int)word.len, word.bytes);
		break;
	case KIND_OTHER:
		return;
	}
	buf_add_text(out, "\n");
}

void config_print(const struct config *config, struct buf *out)
{
	struct config copy = *config;

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		print_option(&copy, &options[i], out);
}

const char *config_value(char *const *environment, const char *name)
{
	size_t len = strcspn(name, "=");
	const char *value = NULL;

	for (; *environment; environment++)
		if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=')
			value = *environment + len + 1;
	return value;
}

/* Texts that are NULL are equal to each other alone. */
static bool is_same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool is_same(struct config *a, struct config *b, const struct option *o)
{
	switch (o->kind) {
	case KIND_TEXT:
		return is_same_text(*text_field(a, o), *text_field(b, o));
	case KIND_NUMBER:
		return *number_field(a, o) == *number_field(b, o);
	case KIND_CHOICE:
		return *choice_field(a, o) == *choice_field(b, o);
	case KIND_OTHER:
		break;
	}
	return true;
}

static void copy_value(struct config *to, struct config *from, const struct option *o)
{
	switch (o->kind) {
	case KIND_TEXT:
		*text_field(to, o) = *text_field(from, o);
		break;
	case KIND_NUMBER:
		*number_field(to, o) = *number_field(from, o);
		break;
	case KIND_CHOICE:
		*choice_field(to, o) = *choice_field(from, o);
		break;
	case KIND_OTHER:
		break;
	}
}

static bool is_reloaded(const struct option *o)
{
	for (size_t i = 0; i < ARRAY_LEN(reloaded); i++)
		if (strcmp(reloaded[i], o->name) == 0)
			return true;
	return false;
}

static void log_taken(struct config *c, const struct option *o)
{
	struct buf line = BUF_EMPTY;

	print_option(c, o, &line);
	if (buf_ok(&line))
		log_notice("from now on %.*s", (int)(line.len - 1), line.bytes);
	buf_free(&line);
}

bool config_take_over(struct config *c, const struct config *next, char *const *was, char *const *is)
{
	struct config from = *next;
	bool taken = false;

	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const struct option *o = &options[i];

		if (is_same(c, &from, o))
			continue;
		if (is_reloaded(o)) {
			copy_value(c, &from, o);
			log_taken(c, o);
			taken = true;
		} else if (!is_same_text(config_value(was, o->name), config_value(is, o->name))) {
			log_warning("%s has changed: that counts from the next start on", o->name);
		}
	}
	log_set_level((enum log_level)(int)c->log_level);
	return taken;
}

void config_start(struct config *c, const char *program, const char *usage, int argc, char **argv)
{
	struct buf text = BUF_EMPTY;
	bool check = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			fputs(usage, stdout);
			exit(0);
		}
		if (strcmp(argv[i], "--version") == 0) {
			printf("%s %s\n", program, PACKAGE_VERSION);
			exit(0);
		}
		if (strcmp(argv[i], "--check-config") != 0) {
			fprintf(stderr, "%s: unknown argument %s\n%s", program, argv[i], usage);
			exit(2);
		}
		check = true;
	}
	if (config_read(c, environ, &text) != OK) {
		fputs(buf_ok(&text) ? text.bytes : "no memory\n", stderr);
		exit(2);
	}
	if (check) {
		config_print(c, &text);
		fputs(buf_ok(&text) ? text.bytes : "no memory\n", stdout);
		exit(0);
	}
	buf_clear(&text);
	log_open(program, (enum log_level)c->log_level, c->log_to);
	log_set_format((enum log_format)c->log_format);
	if (c->audit_log && audit_sink_open(program, c->audit_log, (enum log_format)c->log_format, &text) != OK) {
		fputs(buf_ok(&text) ? text.bytes : "no memory\n", stderr);
		exit(2);
	}
	buf_free(&text);
}
