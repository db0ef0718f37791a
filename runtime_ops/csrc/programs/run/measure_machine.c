/* /proc and /sys of Linux. Phones and virtual machines leave much of it out, and other systems all of it. */
#define _POSIX_C_SOURCE 200809L
#include "programs/run/measure_machine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "programs/run/commands.h"
#include "programs/run/report.h"
#include "programs/run/text_file.h"

#define CPUS "/sys/devices/system/cpu/cpu"
#define MOST_CACHES 8
#define MOST_ZONES 128

/* Place in `cores` of a core; cores.n when this process may not use it. */
static uint32_t place_of(const machine *here, unsigned id) {
    uint32_t i = 0;
    while (i < here->cores.n && here->cores.id[i] != id) i++;
    return i;
}

static void read_cpuinfo(machine *here) {
    char line[512], value[128];
    unsigned id, maker = 0, part;
    uint32_t at = here->cores.n;
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (file == NULL) return;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "processor : %u", &id) == 1) at = place_of(here, id);
        else if (sscanf(line, "CPU implementer : %x", &maker) == 1) continue;
        else if (sscanf(line, "CPU part : %x", &part) == 1 && at < here->cores.n) {
            snprintf(here->info[at].part, sizeof here->info[at].part, "0x%02x:0x%03x", maker & 0xFF, part & 0xFFF);
        } else if (here->cpu[0] == 0 && (sscanf(line, "model name : %127[^\n]", value) == 1 ||
                                         sscanf(line, "Hardware : %127[^\n]", value) == 1)) {
            snprintf(here->cpu, sizeof here->cpu, "%s", value);
        }
    }
    fclose(file);
}

/* A board says what it is in its device tree; its processor's name says less. */
static void read_name(machine *here) {
    char model[sizeof here->cpu];
    if (read_text_file("/sys/firmware/devicetree/base/model", model, sizeof model)) {
        snprintf(here->cpu, sizeof here->cpu, "%s", model);
    }
    for (char *c = here->cpu; *c != 0; c++) {
        if ((unsigned char)*c < 32 || (unsigned char)*c > 126) *c = '?';
    }
}

static void read_caches(core_info *info, unsigned id, uint64_t *last_level) {
    char folder[64], path[96], type[24], size[24];
    for (int i = 0; i < MOST_CACHES; i++) {
        uint64_t level;
        snprintf(folder, sizeof folder, CPUS "%u/cache/index%d", id, i);
        snprintf(path, sizeof path, "%s/level", folder);
        if (!read_number_file(path, &level)) return;
        snprintf(path, sizeof path, "%s/type", folder);
        if (!read_text_file(path, type, sizeof type) || strcmp(type, "Instruction") == 0) continue;
        snprintf(path, sizeof path, "%s/size", folder);
        if (!read_text_file(path, size, sizeof size)) continue;
        char *unit;
        uint64_t bytes = strtoull(size, &unit, 10);
        bytes *= *unit == 'K' ? 1024u : *unit == 'M' ? 1048576u : 1u;
        if (level == 1) info->l1d_bytes = bytes;
        if (level == 2) info->l2_bytes = bytes;
        if (bytes > *last_level) *last_level = bytes;
    }
}

static void read_memory(machine *here) {
    char line[256];
    uint64_t kib;
    FILE *file = fopen("/proc/meminfo", "r");
    if (file == NULL) return;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "MemTotal: %" SCNu64, &kib) == 1) here->memory_bytes = kib * 1024;
        if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1) here->available_bytes = kib * 1024;
    }
    fclose(file);
}

static int same_kind(const core_info *a, const core_info *b) {
    return strcmp(a->part, b->part) == 0 && a->top_hz == b->top_hz && a->l1d_bytes == b->l1d_bytes &&
           a->l2_bytes == b->l2_bytes;
}

static void find_clusters(machine *here) {
    for (uint32_t i = 0; i < here->cores.n && here->n_clusters < MOST_CLUSTERS; i++) {
        uint32_t known = 0;
        while (known < here->n_clusters && !same_kind(&here->info[here->clusters[known]], &here->info[i])) known++;
        if (known == here->n_clusters) here->clusters[here->n_clusters++] = i;
    }
}

void machine_find(machine *here) {
    char path[80];
    *here = (machine){0};
    ec_cores_find(&here->cores);
    read_cpuinfo(here);
    read_name(here);
    for (uint32_t i = 0; i < here->cores.n; i++) {
        uint64_t khz;
        snprintf(path, sizeof path, CPUS "%u/cpufreq/cpuinfo_max_freq", here->cores.id[i]);
        if (read_number_file(path, &khz)) here->info[i].top_hz = khz * 1000;
        read_caches(&here->info[i], here->cores.id[i], &here->last_level_cache_bytes);
    }
    read_memory(here);
    long page = sysconf(_SC_PAGESIZE);
    here->page_bytes = page > 0 ? (uint64_t)page : 0;
    find_clusters(here);
}

/* Whether a zone is one of CPUs by its name: cpu-0-0, CPU-therm, soc-thermal, x86_pkg_temp, BIG. */
static int is_cpu_zone(const char *type) {
    static const char *const names[] = {"cpu", "CPU", "soc", "pkg", "BIG", "MID", "LITTLE"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strstr(type, names[i]) != NULL) return 1;
    }
    return 0;
}

int hottest_millidegrees(long *millidegrees) {
    char path[64], type[64], text[24];
    long hottest[2] = {0, 0}; /* of all zones; of those of CPUs */
    for (int i = 0; i < MOST_ZONES; i++) { /* a zone that cannot be read now may lie between others */
        snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/temp", i);
        if (!read_text_file(path, text, sizeof text)) continue;
        long degrees = strtol(text, NULL, 10);
        snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/type", i);
        int is_cpu = read_text_file(path, type, sizeof type) && is_cpu_zone(type);
        if (degrees > 150000) continue; /* no temperature: phones list currents and limits, too */
        for (int which = 0; which <= is_cpu; which++) {
            if (degrees > hottest[which]) hottest[which] = degrees;
        }
    }
    *millidegrees = hottest[1] != 0 ? hottest[1] : hottest[0];
    return *millidegrees != 0;
}

static const char *architecture(void) {
#if defined(__x86_64__)
    return "x86_64";
#elif defined(__aarch64__)
    return "aarch64";
#elif defined(__arm__)
    return "armv7l";
#else
    return "other";
#endif
}

static void print_sets(void) {
    int n = 0;
    for (int isa = 0; isa < EC_ISA_COUNT; isa++) {
        if (ec_isa_available() >> isa & 1) printf("%s\"%s\"", n++ == 0 ? "" : ", ", ec_isa_name((ec_isa)isa));
    }
}

int machine_print(const machine *here) {
    printf("{\"kind\": \"machine\", \"version\": \"%s\", \"architecture\": \"%s\"", EDGECOMP_VERSION, architecture());
    printf(", \"instruction_set\": \"%s\", \"instruction_sets\": [", ec_isa_name(ec_isa_best()));
    print_sets();
    fputs("], \"cpu\": ", stdout);
    print_json_string(stdout, here->cpu, strlen(here->cpu));
    printf(", \"memory_bytes\": %" PRIu64 ", \"available_bytes\": %" PRIu64 ", \"page_bytes\": %" PRIu64
           ", \"last_level_cache_bytes\": %" PRIu64 ", \"cores\": [",
           here->memory_bytes, here->available_bytes, here->page_bytes, here->last_level_cache_bytes);
    for (uint32_t i = 0; i < here->cores.n; i++) {
        const core_info *info = &here->info[i];
        printf("%s{\"id\": %u, \"part\": \"%s\"", i == 0 ? "" : ", ", (unsigned)here->cores.id[i], info->part);
        printf(", \"top_hz\": %" PRIu64 ", \"l1d_bytes\": %" PRIu64 ", \"l2_bytes\": %" PRIu64 "}", info->top_hz,
               info->l1d_bytes, info->l2_bytes);
    }
    puts("]}");
    return fflush(stdout) == 0 && !ferror(stdout);
}
