/* A file as memory: read-only, pages come as they are needed. */
#ifndef EC_MAP_H
#define EC_MAP_H

#include "runner.h"

typedef struct ec_map { const uint8_t *data; size_t size; } ec_map;

/* Maps a regular file that is not empty. 1, or 0 with a message and an empty map. */
int ec_map_open(const char *path, ec_map *map, ec_message *why);
void ec_map_close(ec_map *map);

#endif
