/* What the program says: one line for an error, one for what may help; and the statuses that it exits with. */
#ifndef RUN_REPORT_H
#define RUN_REPORT_H

#include <stdint.h>
#include <stdio.h>

#include "runner.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* Prints "error: ..." and, unless it is empty, "hint: ..." to stderr, each as one line; returns `status`. */
int fail(int status, const char *hint, const char *format, ...) __attribute__((format(printf, 3, 4)));
int fail_message(const ec_message *why);
int fail_file(const char *file, const ec_message *why); /* of a message that does not name the file */
int fail_status(const char *file, ec_status status); /* of a container */

/* Whether an interrupted write to stdout was that of a closed pipe, which ends the program quietly. */
int fail_stdout(void);

/* Flushes stdout: `status`, or that of the failure. */
int finish_stdout(int status);

/* A string in JSON's quotes; bytes that are not UTF-8 must not be in it. */
void print_json_string(FILE *file, const char *text, size_t n);

/* The largest resident size that this process has had, in bytes; 0 when the system does not say. */
uint64_t peak_resident_bytes(void);
uint64_t now_ns(void);

#endif
