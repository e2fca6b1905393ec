/*
 * decimal - numbers of JSON by their value, however long they are: a double would take 1.00000000000000000000001 for 1
 * and 1e400 for 1e500.
 *
 * Layer    domain.
 */
#pragma once

#include "base/defs.h"

/*
 * Which of two numbers is larger: below 0 when `a` is the smaller, 0 when they are the same number, above 0 otherwise.
 *
 *	a, b	borrowed: numbers as RFC 8259 writes them. An exponent beyond 15 digits counts as one of 10^15.
 */
int decimal_compare(struct span a, struct span b);
