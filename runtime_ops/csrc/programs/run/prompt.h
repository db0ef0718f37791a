/* The prompt: what stands on the command line, in a file, or on stdin. */
#ifndef RUN_PROMPT_H
#define RUN_PROMPT_H

#include <stddef.h>

typedef struct prompt { char *bytes; size_t n; } prompt; /* bytes are to be freed */

/* `text`, or else the file of that name ("-": stdin), or else stdin; EXIT_OK, or a failure that has been said. */
int prompt_read(prompt *p, const char *text, const char *path);

#endif
