/* `measure`: what this machine takes for each kernel and each step of a model. */
#include "programs/run/commands.h"
#include "programs/run/measure_attention.h"
#include "programs/run/measure_calls.h"
#include "programs/run/measure_product.h"
#include "programs/run/measure_steps.h"
#include "programs/run/options.h"
#include "programs/run/report.h"
#include "runner/map.h"

static const char help[] =
    "edgecomp-run measure FILE [options]\n"
    "\n"
    "What this machine takes for each matrix of a container and for each step of a model; one JSON object in a line.\n"
    "\n"
    "  --only NAME      one matrix, step (norm, rope, ...) or attention (attend-f16-64-4: cache, head, group)\n"
    "  --calls N        no clock: N calls of what --only names, for counting instructions\n"
    "  --tokens T       of the products of --calls (1)\n";

typedef struct request {
    const char *path, *only;
    uint32_t calls, n_tokens;
} request;

/* Whether the name stands for something: 1, or 0. */
static int is_known(const ec_container *container, const char *name) {
    attention_case attention;
    ec_tensor tensor;
    uint32_t i;
    if (find_step(name) != NULL || parse_attention(name, &attention)) return 1;
    if (ec_container_find(container, name, strlen(name), &i) != EC_OK) return 0;
    return ec_container_tensor(container, i, &tensor) == EC_OK && is_matrix(&tensor);
}

static int measure_container(const request *q, const ec_map *map) {
    ec_container container;
    ec_status status = ec_container_open(map->data, map->size, &container);
    if (status != EC_OK) return fail_status(q->path, status);
    if (q->only != NULL && !is_known(&container, q->only)) {
        return fail(EXIT_USAGE, "expected a matrix that `edgecomp-run list FILE` names, or norm, rope, swiglu, quantise, "
                    "rotate, store_f16, store_int8, attend-f16-64-4", "--only: %s", q->only);
    }
    return measure_calls(&container, q->only, q->n_tokens, q->calls);
}

static int parse(request *q, int argc, char **argv) {
    const option options[] = {
        {"--only", OPTION_TEXT, &q->only, 0, 0},
        {"--calls", OPTION_U32, &q->calls, 1, 1e9},
        {"--tokens", OPTION_U32, &q->n_tokens, 1, 512},
    };
    command_line line = {.help = help, .options = options, .n_options = sizeof options / sizeof options[0],
                         .n_operands = 1};
    int status = parse_command_line(&line, argc, argv);
    if (status != PARSED) return status;
    q->path = line.operands[0];
    if (q->calls == 0 || q->only == NULL) {
        return fail(EXIT_USAGE, "name it: --only NAME --calls N", "--calls without --only, or --only without --calls");
    }
    return PARSED;
}

int command_measure(int argc, char **argv) {
    request q = {.n_tokens = 1};
    int status = parse(&q, argc, argv);
    ec_map map;
    ec_message why;
    if (status != PARSED) return status;
    if (!ec_map_open(q.path, &map, &why)) return fail_message(&why);
    status = measure_container(&q, &map);
    ec_map_close(&map);
    return status;
}
