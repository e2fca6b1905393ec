#include "domain/caller/user_id.h"

#include <string.h>

#include "domain/text/json.h"
#include "domain/text/utf8.h"

#define INTEGER_DIGITS_MAX 15 /* JavaScript's numbers are exact up to 2^53 */

static bool is_integer(const char *text, size_t len)
{
	size_t sign = len > 1 && text[0] == '-';
	size_t digits = len - sign;

	if (digits == 0 || digits > INTEGER_DIGITS_MAX || (text[sign] == '0' && len > 1))
		return false;
	return strspn(text + sign, "0123456789") == digits;
}

bool user_id_valid(const char *user_id, size_t len)
{
	if (len == 0 || len > USER_ID_MAX || !utf8_valid(user_id, len))
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)user_id[i] < 0x20 || user_id[i] == 0x7f)
			return false;
	return true;
}

void user_id_add_json(struct buf *out, const char *user_id)
{
	if (!user_id)
		buf_add_text(out, "null");
	else if (is_integer(user_id, strlen(user_id)))
		buf_add_text(out, user_id);
	else
		json_add_string(out, user_id, strlen(user_id));
}
