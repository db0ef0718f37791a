/* A stand-in for edgecomp-run: `measure` does what the file SCRIPT says, whose lines are printed;
 * those that begin with @ are done: @sleep MILLISECONDS, @signal N, @exit N, @error TEXT, @file PATH. */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int act(char *line) {
    const char *rest = strchr(line, ' ');
    rest = rest != NULL ? rest + 1 : "";
    if (strncmp(line, "@sleep", 6) == 0) {
        long ms = atol(rest);
        struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
        nanosleep(&pause, NULL);
    } else if (strncmp(line, "@signal", 7) == 0) {
        raise(atoi(rest));
    } else if (strncmp(line, "@exit", 5) == 0) {
        exit(atoi(rest));
    } else if (strncmp(line, "@file", 5) == 0) {
        FILE *file = fopen(rest, "w");
        if (file != NULL) fclose(file);
    } else {
        fprintf(stderr, "%s\n", rest);
    }
    return 0;
}

int main(int argc, char **argv) {
    static char line[1 << 20];
    if (argc == 2 && strcmp(argv[1], "--version") == 0) return puts("edgecomp-run 0.1.0") < 0;
    FILE *script = fopen(SCRIPT, "r");
    if (argc < 3 || strcmp(argv[1], "measure") != 0 || script == NULL) return 2;
    while (fgets(line, sizeof line, script) != NULL) {
        line[strcspn(line, "\n")] = 0;
        if (line[0] == '@') act(line);
        else if (puts(line) < 0 || fflush(stdout) != 0) return 1;
    }
    return 0;
}
