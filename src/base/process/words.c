#include "base/process/words.h"

#include <string.h>

int words_index(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (int i = 0;; i++) {
		size_t this_len = strcspn(words, "|");

		if (this_len == len && memcmp(words, word, len) == 0)
			return i;
		if (words[this_len] == '\0')
			return -1;
		words += this_len + 1;
	}
}

struct span words_at(const char *words, int index)
{
	for (; index > 0; index--)
		words += strcspn(words, "|") + 1;
	return (struct span){words, strcspn(words, "|")};
}

int words_count(const char *words)
{
	int count = 1;

	for (; *words; words++)
		count += *words == '|';
	return count;
}
