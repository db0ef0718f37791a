/* Messages, JSON strings, and what the system knows about this process. */
#define _POSIX_C_SOURCE 200809L
#include "programs/run/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

/* A file's name, for example, may hold line breaks or codes that move the terminal's cursor. */
static void print_line(const char *label, const char *text) {
    fputs(label, stderr);
    for (; *text != 0; text++) fputc((unsigned char)*text < 32 || *text == 127 ? '?' : *text, stderr);
    fputc('\n', stderr);
}

int fail(int status, const char *hint, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fflush(stdout);
    print_line("error: ", line);
    if (*hint != 0) print_line("hint: ", hint);
    return status;
}

int fail_message(const ec_message *why) { return fail(EXIT_FAILED, why->hint, "%s", why->text); }

int fail_file(const char *file, const ec_message *why) {
    return fail(EXIT_FAILED, why->hint, "%s: %s", file, why->text);
}

int fail_status(const char *file, ec_status status) {
    const char *hint = status == EC_TRUNCATED  ? "copy the file again: its end is missing"
                       : status == EC_BAD_MAGIC ? "expected a container made by edgecomp"
                                                : "`edgecomp inspect FILE --verify` says what is wrong with it";
    return fail(EXIT_FAILED, hint, "%s: %s", file, ec_status_text(status));
}

int fail_stdout(void) {
    return errno == EPIPE ? EXIT_OK : fail(EXIT_FAILED, "", "standard output: %s", strerror(errno));
}

int finish_stdout(int status) { return fflush(stdout) == 0 && !ferror(stdout) ? status : fail_stdout(); }

void print_json_string(FILE *file, const char *text, size_t n) {
    fputc('"', file);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') fputc('\\', file);
        if (c < 32) fprintf(file, "\\u%04x", (unsigned)c);
        else fputc(c, file);
    }
    fputc('"', file);
}

uint64_t peak_resident_bytes(void) {
    char line[256];
    uint64_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r"); /* getrusage counts what the process was before exec, too */
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmHWM: %" SCNu64 " kB", &kib) == 1) break;
    }
    fclose(file);
    return kib * 1024;
}

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
