/* edgecomp-run: language models and tensors of edgecomp containers, on the device. */
#define _XOPEN_SOURCE 700
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "programs/run/commands.h"
#include "programs/run/report.h"

volatile sig_atomic_t interrupted = 0;

static const char help[] =
    "edgecomp-run: language models and tensors of edgecomp containers, on the device\n"
    "\n"
    "    edgecomp-run run FILE -p \"Once upon a time\"     text, as it comes\n"
    "    edgecomp-run bench FILE --threads 1,4           tokens a second, bandwidth, memory\n"
    "    edgecomp-run measure FILE                       what each kernel costs here, for a device's profile\n"
    "    edgecomp-run decode FILE TENSOR -o OUT.f32      a tensor's weights as float32\n"
    "    edgecomp-run list FILE                          names, shapes and codecs\n"
    "\n"
    "  COMMAND --help   what a command takes\n"
    "  --version        the version, and the instruction sets that are used here\n";

static const struct command { const char *name; int (*run)(int argc, char **argv); } commands[] = {
    {"run", command_run}, {"bench", command_bench}, {"measure", command_measure},
    {"decode", command_decode}, {"list", command_list},
};

static void interrupt(int number) {
    (void)number;
    interrupted = 1;
}

/* A mapped file that became shorter. Nothing but write is allowed here. */
static void lose_file(int number) {
    static const char message[] = "error: the file became shorter while it was read\n";
    (void)number;
    if (write(STDERR_FILENO, message, sizeof message - 1) < 0) _exit(EXIT_FAILED);
    _exit(EXIT_FAILED);
}

static void set_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL); /* writing says it */
    action.sa_handler = lose_file;
    sigaction(SIGBUS, &action, NULL);
    action.sa_handler = interrupt;
    action.sa_flags = (int)SA_RESETHAND;
    sigaction(SIGINT, &action, NULL);
}

static int print_version(void) {
    printf("edgecomp-run %s\ninstruction sets:", EDGECOMP_VERSION);
    for (int isa = 0; isa < EC_ISA_COUNT; isa++) {
        if (ec_isa_available() >> isa & 1) printf(" %s", ec_isa_name((ec_isa)isa));
    }
    putchar('\n');
    return finish_stdout(EXIT_OK);
}

int main(int argc, char **argv) {
    set_signals();
    if (argc < 2) {
        fputs(help, stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        fputs(help, stdout);
        return finish_stdout(EXIT_OK);
    }
    if (strcmp(argv[1], "--version") == 0) return print_version();
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 2, argv + 2);
    }
    return fail(EXIT_USAGE, "there are run, bench, measure, decode and list", "no such command: %s", argv[1]);
}
