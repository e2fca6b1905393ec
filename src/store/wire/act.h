/*
 * act - the outcomes of tidings.act(), for who calls it another way than act_run().
 *
 * Layer    store: for files of this folder only.
 */
#pragma once

#include "base/err.h"

/* ERR_DATABASE: it is none. */
enum err act_outcome(const char *text);
