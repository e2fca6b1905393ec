/*
 * process_usage - what this process takes of the machine, as Prometheus' own clients tell it.
 *
 * Layer    base.
 */
#pragma once

#include <stdint.h>

struct process_usage {
	int64_t cpu_us; /* of all threads, since the start */
	int64_t resident_bytes;
	int64_t descriptors; /* that are open */
	int64_t descriptors_max;
};

/* What the kernel does not tell is 0. Reads a small file of /proc, and where the kernel is older than 6.2 a folder. */
void process_usage_read(struct process_usage *u);
