/*
 * notice - what a server says beside its answers, and what of it changes the meaning of one.
 *
 * A commit waits until a synchronous standby has it. Who cancels that wait (pg_cancel_backend(), a pooler's cancel) undoes
 * nothing: the transaction is committed on this server, its statement succeeds, and a warning alone says that no standby may
 * have it. A failover loses it then, so it is not one that may be acknowledged.
 *
 * Layer    store: libpq-fe.h is for files of this folder only.
 */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

/* True: the commit that it comes with may be on this server alone. */
bool notice_is_unreplicated(const PGresult *notice);
