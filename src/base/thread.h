/*
 * thread - one that nobody waits for, and that no signal is for: those are for the threads that wait for them.
 *
 * Layer    base.
 * Threads  any.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"

/* ERR_SYSTEM  there is none */
enum err thread_start(void *(*run)(void *context), void *context) MUST_CHECK;
