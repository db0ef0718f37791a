/* Output files are written beside their place and then renamed. */
#define _POSIX_C_SOURCE 200809L
#include "programs/run/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "programs/run/report.h"

static int same_file(const char *a, const char *b) {
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

int output_open(output *out, const char *path, const char *input) {
    static const char suffix[] = ".partial";
    struct stat info;
    *out = (output){stdout, path, NULL};
    if (path == NULL) return EXIT_OK;
    if (same_file(path, input)) return fail(EXIT_USAGE, "name another file", "-o: %s is the file that is read", path);
    if (stat(path, &info) != 0 || S_ISREG(info.st_mode)) { /* a device, such as /dev/null, is not replaced */
        out->partial = malloc(strlen(path) + sizeof suffix);
        if (out->partial == NULL) return fail(EXIT_FAILED, "", "no memory");
        strcpy(out->partial, path);
        strcat(out->partial, suffix);
    }
    out->file = fopen(out->partial != NULL ? out->partial : path, "wb");
    if (out->file != NULL) return EXIT_OK;
    int status = fail(EXIT_FAILED, "", "%s: %s", path, strerror(errno));
    free(out->partial);
    out->partial = NULL;
    return status;
}

int output_failed(const output *out) {
    if (out->path == NULL) return fail_stdout();
    return fail(EXIT_FAILED, "", "%s: %s", out->path, strerror(errno));
}

int output_close(output *out, int status) {
    if (out->path == NULL) return status == EXIT_OK ? finish_stdout(status) : status;
    int closed = fclose(out->file) == 0;
    if (out->partial != NULL && closed && status == EXIT_OK) closed = rename(out->partial, out->path) == 0;
    if (status == EXIT_OK && !closed) status = output_failed(out);
    if (out->partial != NULL && status != EXIT_OK) unlink(out->partial);
    free(out->partial);
    return status;
}
