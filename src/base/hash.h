/*
 * hash - uthash, where a lack of memory is told and does not end the program.
 *
 * Layer    base.
 * Memory   of a table is its own; elements are the caller's.
 */
#pragma once

#include <stdbool.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* After HASH_ADD…: is the element in the table? Not, where there was no memory: then it is the caller's still. */
#define HASH_HAS(hh, element) ((element)->hh.tbl != NULL)
