#include "ws/session/transport.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

int64_t transport_queued(int fd)
{
	int bytes = 0;

	return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}
