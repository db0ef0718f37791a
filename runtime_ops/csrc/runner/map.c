/* Mapping a file. */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64 /* so that a large file is refused by its size, not by an error of open */
#include "runner/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(ec_message *why, const char *path, const char *what, const char *hint) {
    snprintf(why->text, sizeof why->text, "%.160s: %.80s", path, what);
    snprintf(why->hint, sizeof why->hint, "%s", hint);
    return 0;
}

static int map_descriptor(int file, const char *path, ec_map *map, ec_message *why) {
    struct stat info;
    if (fstat(file, &info) != 0) return fail(why, path, strerror(errno), "");
    if (S_ISDIR(info.st_mode)) return fail(why, path, "a directory", "name the container file in it");
    if (!S_ISREG(info.st_mode)) return fail(why, path, "not a regular file", "copy it to a file first");
    if (info.st_size <= 0) return fail(why, path, "an empty file", "copy it again: a container is never empty");
    if ((uint64_t)info.st_size > SIZE_MAX / 2) {
        return fail(why, path, "larger than this machine can address", "use a smaller model or a 64-bit system");
    }
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) return fail(why, path, strerror(errno), "");
    map->data = data;
    map->size = (size_t)info.st_size;
    return 1;
}

int ec_map_open(const char *path, ec_map *map, ec_message *why) {
    *map = (ec_map){NULL, 0};
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a named pipe must not make it wait */
    if (file < 0) return fail(why, path, strerror(errno), "");
    int mapped = map_descriptor(file, path, map, why);
    close(file); /* the mapping stays */
    return mapped;
}

void ec_map_close(ec_map *map) {
    if (map->size != 0) munmap((void *)map->data, map->size);
    *map = (ec_map){NULL, 0};
}
