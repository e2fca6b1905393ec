#include "domain/http/peer.h"

#include <arpa/inet.h>

#define LOOPBACK 127 /* the first of its four numbers: RFC 1122, section 3.2.1.3 */

bool peer_is_loopback(const char *address)
{
	struct in6_addr six;
	struct in_addr four;

	if (inet_pton(AF_INET, address, &four) == 1)
		return ntohl(four.s_addr) >> 24 == LOOPBACK;
	if (inet_pton(AF_INET6, address, &six) != 1)
		return false;
	return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == LOOPBACK);
}
