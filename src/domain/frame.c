#include "domain/frame.h"

#define FIN_TEXT 0x81
#define LEN_16 126
#define LEN_64 127

size_t frame_text_header(uint8_t out[FRAME_HEADER_MAX], uint64_t payload_bytes)
{
	size_t len_bytes = payload_bytes < LEN_16 ? 0 : payload_bytes <= UINT16_MAX ? 2 : 8;

	out[0] = FIN_TEXT;
	out[1] = len_bytes == 0 ? (uint8_t)payload_bytes : len_bytes == 2 ? LEN_16 : LEN_64;
	for (size_t i = 0; i < len_bytes; i++)
		out[2 + i] = (uint8_t)(payload_bytes >> (8 * (len_bytes - 1 - i)));
	return 2 + len_bytes;
}
