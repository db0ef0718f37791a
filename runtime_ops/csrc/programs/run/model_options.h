/* Options that `run` and `bench` share. */
#ifndef RUN_MODEL_OPTIONS_H
#define RUN_MODEL_OPTIONS_H

#include <string.h>

#include "runner.h"

#define MAX_CONTEXT 1048576 /* tokens */

/* f16 or int8: 1, or 0. */
static inline int parse_kv(const char *text, ec_kv *kv) {
    *kv = strcmp(text, "int8") == 0 ? EC_KV_I8 : EC_KV_F16;
    return strcmp(text, "int8") == 0 || strcmp(text, "f16") == 0;
}

#endif
