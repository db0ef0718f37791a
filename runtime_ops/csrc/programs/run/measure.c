/* `measure`: what this machine takes for each kernel and each step of a model. */
#include <string.h>

#include "programs/run/commands.h"
#include "programs/run/measure_attention.h"
#include "programs/run/measure_calls.h"
#include "programs/run/measure_clock.h"
#include "programs/run/measure_product.h"
#include "programs/run/measure_session.h"
#include "programs/run/measure_steps.h"
#include "programs/run/options.h"
#include "programs/run/report.h"
#include "runner/map.h"

#define LAPS 5
#define WARM_NS UINT64_C(50000000) /* in which a core that was asleep reaches its clock */

static const char help[] =
    "edgecomp-run measure FILE [options]\n"
    "\n"
    "What this machine is, how fast it reads memory, and what it takes for each matrix of a container and each step\n"
    "of a model, five times if there is time: one JSON object in a line, each as soon as it is known; the last\n"
    "one is of the kind \"end\".\n"
    "\n"
    "  --seconds S          what it takes, unless that is too little for three rounds of all (45)\n"
    "  --threads N[,N...]   numbers of threads (1, 2, 4 .. and one for each core, which is what 0 means)\n"
    "  --only NAME          one matrix, step (norm, rope, ...) or attention (attend-f16-64-4: cache, head, group)\n"
    "  --calls N            no clock: N calls of what --only names, for counting instructions\n"
    "  --tokens T           of the products of --calls (1)\n";

typedef struct request {
    const char *path, *only, *threads;
    float seconds;
    uint32_t calls, n_tokens;
} request;

static int is_matrix_name(const ec_container *container, const char *name) {
    ec_tensor tensor;
    uint32_t i;
    if (ec_container_find(container, name, strlen(name), &i) != EC_OK) return 0;
    return ec_container_tensor(container, i, &tensor) == EC_OK && is_matrix(&tensor);
}

static int has_matrix(const ec_container *container) {
    const session all = {.container = container};
    ec_tensor tensor;
    ec_slice name;
    uint32_t i = 0;
    return next_matrix(&all, &i, &tensor, &name);
}

static int check_only(const request *q, const ec_container *container) {
    attention_case attention;
    if (q->only == NULL && q->calls == 0 && !has_matrix(container)) {
        return fail(EXIT_FAILED, "`edgecomp measure` makes a container with one for each kernel", "%s: no matrix in it",
                    q->path);
    }
    if (q->only == NULL) {
        return q->calls == 0 ? EXIT_OK : fail(EXIT_USAGE, "name it with --only NAME", "--calls: of what is missing");
    }
    int is_step = find_step(q->only) != NULL || parse_attention(q->only, &attention);
    if (!is_step && !is_matrix_name(container, q->only)) {
        return fail(EXIT_USAGE, "expected a matrix, which `edgecomp-run list FILE` names, or norm, rope, swiglu, "
                    "quantise, rotate, store_f16, store_int8, attend-f16-64-4", "--only: %s", q->only);
    }
    if (is_step && q->n_tokens != 1) {
        return fail(EXIT_USAGE, "leave --tokens out", "--tokens: %u of a step, which takes one", (unsigned)q->n_tokens);
    }
    return EXIT_OK;
}

/* Ascending, each of them once; without --threads 1, 2, 4 .. and all. */
static int set_threads(session *s, const char *text) {
    uint32_t asked[MOST_THREAD_COUNTS], all = s->here.cores.n < EC_MAX_THREADS ? s->here.cores.n : EC_MAX_THREADS;
    size_t n = 0;
    for (uint32_t i = 1; text == NULL && i < all; i *= 2) asked[n++] = i;
    if (text == NULL) asked[n++] = all;
    else n = parse_threads(text, asked, MOST_THREAD_COUNTS);
    for (size_t i = 0; i < n; i++) {
        uint32_t own = asked[i] != 0 ? asked[i] : all;
        size_t at = 0;
        while (at < s->n_threads && s->threads[at] < own) at++;
        if (at < s->n_threads && s->threads[at] == own) continue;
        memmove(s->threads + at + 1, s->threads + at, (s->n_threads - at) * sizeof own);
        s->threads[at] = own;
        s->n_threads++;
    }
    return n != 0;
}

/* The clock of each kind of core, or of those of which figures were taken last. */
static int print_clocks(session *s, uint64_t warm_ns) {
    int status = EXIT_OK;
    for (uint32_t i = 0; status == EXIT_OK && i < s->here.n_clusters; i++) {
        ec_cores_pin(&s->here.cores, s->here.clusters[i]);
        if (warm_ns != 0) (void)clock_hz(warm_ns);
        status = session_on_core(s, s->here.clusters[i]);
    }
    session_on_all_cores(s);
    return status;
}

/* Every stage once, in the time that is left. */
static int run_lap(session *s) {
    static const stage *const stages[] = {&bandwidth_stage, &dispatch_stage, &cached_stage, &memory_stage, &steps_stage,
                                          &attention_stage};
    const size_t n = sizeof stages / sizeof stages[0];
    int status = EXIT_OK;
    s->left.shares = 0;
    for (size_t i = 0; i < n; i++) s->left.shares += stages[i]->shares(s);
    for (size_t i = 0; status == EXIT_OK && i < n; i++) {
        if (stages[i]->shares(s) == 0) continue;
        status = stages[i]->run(s);
        if (status == EXIT_OK) status = print_clocks(s, 0);
    }
    return status;
}

/* What else a machine does comes and goes in seconds: several laps meet it in different figures. A machine that is
 * too slow for them has one. */
static int run_laps(session *s, uint64_t whole_ns) {
    int status = print_clocks(s, WARM_NS);
    for (uint64_t lap = 1; status == EXIT_OK && lap <= LAPS; lap++) {
        s->left.end_ns = s->start_ns + whole_ns * lap / LAPS;
        if (lap > 1 && now_ns() > s->left.end_ns - whole_ns / LAPS / 2) continue;
        status = run_lap(s);
    }
    if (status != EXIT_OK) return status;
    printf("{\"kind\": \"end\", \"seconds\": %.6g}\n", (double)(now_ns() - s->start_ns) / 1e9);
    return finish_stdout(EXIT_OK);
}

static int measure_all(const request *q, const ec_container *container) {
    session s = {.container = container, .only = q->only, .start_ns = now_ns()};
    machine_find(&s.here);
    if (!set_threads(&s, q->threads)) return EXIT_USAGE;
    if (!machine_print(&s.here)) return fail_stdout();
    int is_step = q->only != NULL && !is_matrix_name(container, q->only);
    if (!is_step && !session_take_memory(&s)) {
        return fail(EXIT_FAILED, "end other programs, and measure again", "no memory for a working set");
    }
    int status = run_laps(&s, (uint64_t)(1e9 * (double)q->seconds));
    session_end(&s);
    return status;
}

static int measure_container(const request *q, const ec_map *map) {
    ec_container container;
    ec_status status = ec_container_open(map->data, map->size, &container);
    if (status != EC_OK) return fail_status(q->path, status);
    int checked = check_only(q, &container);
    if (checked != EXIT_OK) return checked;
    return q->calls != 0 ? measure_calls(&container, q->only, q->n_tokens, q->calls) : measure_all(q, &container);
}

static int parse(request *q, int argc, char **argv) {
    const option options[] = {
        {"--seconds", OPTION_FLOAT, &q->seconds, 0.1, 3600},
        {"--threads", OPTION_TEXT, &q->threads, 0, 0},
        {"--only", OPTION_TEXT, &q->only, 0, 0},
        {"--calls", OPTION_U32, &q->calls, 1, 1e9},
        {"--tokens", OPTION_U32, &q->n_tokens, 1, 512},
    };
    command_line line = {.help = help, .options = options, .n_options = sizeof options / sizeof options[0],
                         .n_operands = 1};
    int status = parse_command_line(&line, argc, argv);
    q->path = line.operands[0];
    return status;
}

int command_measure(int argc, char **argv) {
    request q = {.n_tokens = 1, .seconds = 45};
    int status = parse(&q, argc, argv);
    ec_map map;
    ec_message why;
    if (status != PARSED) return status;
    if (!ec_map_open(q.path, &map, &why)) return fail_message(&why);
    status = measure_container(&q, &map);
    ec_map_close(&map);
    return status;
}
