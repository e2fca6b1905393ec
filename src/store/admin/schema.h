/*
 * schema - the SQL files that this build is for, as `tidings migrate` writes down that it has applied them.
 *
 * Layer    store: the text is made from the files when it is built.
 */
#pragma once

/* SHA-256 of the code and of each file of tables/, in hex, joined by commas: what SCHEMA_APPLIED is then. */
extern const char schema_files[];

/* The same of a database, an expression of SQL. NULL: nothing was applied. */
#define SCHEMA_APPLIED "(SELECT string_agg(a.checksum, ',' ORDER BY a.version) FROM tidings.applied() AS a)"
