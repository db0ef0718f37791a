/* The program's commands: each takes the words behind its name and returns the program's status. */
#ifndef RUN_COMMANDS_H
#define RUN_COMMANDS_H

#include <signal.h>

#define EDGECOMP_VERSION "0.1.0"

int command_run(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_measure(int argc, char **argv);
int command_decode(int argc, char **argv);
int command_list(int argc, char **argv);

/* Set by Ctrl-C; a second one ends the program at once. */
extern volatile sig_atomic_t interrupted;

#endif
