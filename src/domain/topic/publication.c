#include "domain/topic/publication.h"

#include <stdlib.h>

void publications_free(struct publications *p)
{
	for (size_t i = 0; i < p->count; i++)
		buf_free(&p->items[i].body);
	free(p->items);
	buf_free(&p->ignored);
	*p = PUBLICATIONS_NONE;
}
