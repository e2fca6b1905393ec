#include "cli/arguments.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/complaint.h"

enum { OPTION_JSON = 1000, OPTION_HELP };

bool arguments_next_operand(const char **operands, struct span *word)
{
	*operands += strspn(*operands, " ");
	*word = (struct span){*operands, strcspn(*operands, " ")};
	*operands += word->len;
	return word->len > 0;
}

/* Whether so many operands are as many as it takes. */
static bool operands_fit(const char *operands, size_t count)
{
	size_t min = 0, max = 0;
	struct span word;

	while (arguments_next_operand(&operands, &word)) {
		bool more = memmem(word.bytes, word.len, "...", 3);

		min += word.bytes[0] != '[';
		max = more || max == SIZE_MAX ? SIZE_MAX : max + 1;
	}
	return count >= min && count <= max;
}

/* Whether `value` is what an option takes: "a|b": one of these words. */
static bool value_fits(const char *value, const char *words)
{
	size_t len = strlen(value);

	if (!strchr(words, '|'))
		return true;
	for (;;) {
		size_t this_len = strcspn(words, "|");

		if (this_len == len && memcmp(words, value, len) == 0)
			return true;
		if (words[this_len] == '\0')
			return false;
		words += this_len + 1;
	}
}

static bool take_option(struct arguments *a, int place)
{
	const struct verb_option *o = &a->verb->options[place];

	if (o->value && !value_fits(optarg, o->value)) {
		complain("--%s is one of %s, not %s", o->name, o->value, optarg);
		return false;
	}
	a->values[place] = o->value ? optarg : "";
	return true;
}

enum arguments_outcome arguments_read(struct arguments *a, const struct verb *verb, int argc, char **argv)
{
	struct option options[VERB_OPTIONS_MAX + 3] = {{0}};
	size_t count = 0;
	int option = 0;

	*a = (struct arguments){.verb = verb};
	for (; count < VERB_OPTIONS_MAX && verb->options[count].name; count++)
		options[count] =
			(struct option){verb->options[count].name,
					verb->options[count].value ? required_argument : no_argument, NULL, (int)count};
	options[count++] = (struct option){"json", no_argument, NULL, OPTION_JSON};
	options[count] = (struct option){"help", no_argument, NULL, OPTION_HELP};
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == OPTION_HELP)
			return ARGUMENTS_HELP;
		if (option == OPTION_JSON)
			a->json = true;
		else if (option == '?' || !take_option(a, option))
			return ARGUMENTS_WRONG;
	}
	a->operands = argv + optind;
	a->count = (size_t)(argc - optind);
	if (operands_fit(verb->operands, a->count))
		return ARGUMENTS_GOOD;
	if (*verb->operands)
		complain("%s takes %s; see tidings %s --help", verb->name, verb->operands, verb->name);
	else
		complain("%s takes no operands, such as %s; see tidings %s --help", verb->name, a->operands[0],
			 verb->name);
	return ARGUMENTS_WRONG;
}

const char *arguments_value(const struct arguments *a, const char *option)
{
	for (size_t i = 0; i < VERB_OPTIONS_MAX && a->verb->options[i].name; i++)
		if (strcmp(a->verb->options[i].name, option) == 0)
			return a->values[i];
	assert(false); /* the table does not have it */
	return NULL;
}

bool arguments_number(const struct arguments *a, const char *option, int64_t min, int64_t max, int64_t *number)
{
	const char *text = arguments_value(a, option);
	char *end = NULL;
	long long value = 0;

	if (!text)
		return true;
	errno = 0;
	if (text[0] >= '0' && text[0] <= '9')
		value = strtoll(text, &end, 10);
	if (!end || *end != '\0' || errno != 0 || value < min || value > max) {
		complain("--%s is a whole number from %" PRId64 " to %" PRId64 ", not %s", option, min, max, text);
		return false;
	}
	*number = value;
	return true;
}

void arguments_add_usage(struct buf *out, const struct verb *verb)
{
	buf_printf(out, "tidings %s%s%s", verb->name, *verb->operands ? " " : "", verb->operands);
	for (size_t i = 0; i < VERB_OPTIONS_MAX && verb->options[i].name; i++) {
		const struct verb_option *o = &verb->options[i];

		buf_printf(out, " [--%s%s%s]", o->name, o->value ? " " : "", o->value ? o->value : "");
	}
	buf_add_text(out, " [--json]");
}
