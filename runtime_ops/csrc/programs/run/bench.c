/* `bench`: how fast a model runs here, and what it could reach. */
#include <inttypes.h>
#include <stdlib.h>

#include "programs/run/bandwidth.h"
#include "programs/run/commands.h"
#include "programs/run/median.h"
#include "programs/run/model_options.h"
#include "programs/run/options.h"
#include "programs/run/report.h"
#include "runner/map.h"

#define MAX_ROUNDS 100
#define MAX_SETTINGS 16 /* numbers of threads */

static const char help[] =
    "edgecomp-run bench FILE [options]\n"
    "\n"
    "Prefill and generation in tokens a second (medians over rounds), the bandwidth of reading weights that this\n"
    "means and its share of what reading the file reaches here, peak resident memory, and where the time goes.\n"
    "\n"
    "  --threads N[,N...]   numbers of threads to measure (0: one for each core)\n"
    "  --prefill N          tokens of the prompt (256)\n"
    "  --generate N         tokens generated behind it (64)\n"
    "  --rounds R           rounds of both (3)\n"
    "  --kv f16|int8        how keys and values are kept (f16)\n"
    "  --pin                each thread stays on a core\n"
    "  --json               one JSON object, or an array of them for several numbers of threads\n";

typedef struct request {
    const char *path, *threads, *kv;
    uint32_t n_prefill, n_generate, n_rounds;
    uint32_t settings[MAX_SETTINGS]; /* [n_settings]: threads */
    size_t n_settings;
    int pin, json;
    ec_kv keys;
} request;

typedef struct result {
    ec_model_info info;
    double prefill, generate;               /* tokens a second */
    double bandwidth;                       /* bytes a second that can be read */
    uint64_t prefill_parts[EC_PART_COUNT], generate_parts[EC_PART_COUNT]; /* nanoseconds */
    uint64_t file_bytes, peak_bytes;
} result;

/* Tokens without a pattern, the same ones each time. */
static uint32_t some_token(uint32_t i, uint32_t n_vocab) { return (uint32_t)((i + 1) * UINT64_C(2654435761) % n_vocab); }

static int evaluate(ec_model *model, uint32_t first, uint32_t n, float *logits, const ec_model_info *info) {
    uint32_t tokens[128];
    ec_message why;
    for (uint32_t i = 0, count; i < n; i += count) {
        count = n - i < 128 ? n - i : 128;
        for (uint32_t k = 0; k < count; k++) tokens[k] = some_token(first + i + k, info->n_vocab);
        if (interrupted) return EXIT_INTERRUPTED;
        if (!ec_model_eval(model, tokens, count, i + count == n ? logits : NULL, &why)) return fail_message(&why);
    }
    return EXIT_OK;
}

static double rate(uint32_t tokens, uint64_t ns) { return 1e9 * (double)tokens / (double)(ns + 1); }

static void add_parts(ec_model *model, uint64_t sums[EC_PART_COUNT]) {
    uint64_t parts[EC_PART_COUNT];
    ec_model_profile(model, parts);
    for (int i = 0; i < EC_PART_COUNT; i++) sums[i] += parts[i];
    ec_model_profile_reset(model);
}

static int run_round(const request *q, ec_model *model, float *logits, result *r, double rates[2]) {
    ec_model_rewind(model, 0);
    ec_model_profile_reset(model);
    uint64_t start = now_ns();
    int status = evaluate(model, 0, q->n_prefill, logits, &r->info);
    rates[0] = rate(q->n_prefill, now_ns() - start);
    add_parts(model, r->prefill_parts);
    start = now_ns();
    for (uint32_t i = 0; status == EXIT_OK && i < q->n_generate; i++) {
        status = evaluate(model, q->n_prefill + i, 1, logits, &r->info);
    }
    rates[1] = rate(q->n_generate, now_ns() - start);
    add_parts(model, r->generate_parts);
    return status;
}

static int run_rounds(const request *q, ec_model *model, float *logits, result *r) {
    double prefill[MAX_ROUNDS], generate[MAX_ROUNDS], rates[2];
    int status = evaluate(model, 0, 1, logits, &r->info); /* brings all weights into memory */
    for (uint32_t i = 0; status == EXIT_OK && i < q->n_rounds; i++) {
        status = run_round(q, model, logits, r, rates);
        prefill[i] = rates[0];
        generate[i] = rates[1];
    }
    if (status != EXIT_OK) return status;
    r->prefill = median(prefill, q->n_rounds);
    r->generate = median(generate, q->n_rounds);
    r->peak_bytes = peak_resident_bytes();
    return EXIT_OK;
}

static int measure(const request *q, const ec_map *map, uint32_t n_threads, result *r) {
    ec_model_options options = {.n_context = q->n_prefill + q->n_generate, .n_threads = n_threads,
                                .pin = (uint32_t)q->pin, .kv = q->keys, .isa = EC_ISA_BEST};
    ec_message why;
    ec_model *model = ec_model_open(map->data, map->size, &options, &why);
    *r = (result){.file_bytes = map->size};
    if (model == NULL) return fail_file(q->path, &why);
    ec_model_info_get(model, &r->info);
    float *logits = malloc((size_t)r->info.n_vocab * sizeof *logits);
    int status = logits != NULL ? run_rounds(q, model, logits, r) : fail(EXIT_FAILED, "", "no memory");
    free(logits);
    ec_model_free(model);
    if (status == EXIT_OK) r->bandwidth = read_bandwidth(map, r->info.n_threads, q->pin);
    return status;
}

static double share(uint64_t part, const uint64_t parts[EC_PART_COUNT]) {
    uint64_t sum = 0;
    for (int i = 0; i < EC_PART_COUNT; i++) sum += parts[i];
    return sum != 0 ? (double)part / (double)sum : 0.0;
}

static void print_json_parts(const char *key, const uint64_t parts[EC_PART_COUNT]) {
    printf(", \"%s\": {", key);
    for (int i = 0; i < EC_PART_COUNT; i++) {
        printf("%s\"%s\": %.4f", i == 0 ? "" : ", ", ec_part_name((ec_part)i), share(parts[i], parts));
    }
    putchar('}');
}

static void print_json(const request *q, const result *r) {
    double reached = r->generate * (double)r->info.token_bytes;
    fputs("{\"file\": ", stdout);
    print_json_string(stdout, q->path, strlen(q->path));
    printf(", \"version\": \"%s\", \"instruction_set\": \"%s\", \"threads\": %" PRIu32 ", \"rounds\": %" PRIu32,
           EDGECOMP_VERSION, ec_isa_name(ec_isa_best()), r->info.n_threads, q->n_rounds);
    printf(", \"prefill_tokens\": %" PRIu32 ", \"prefill_tokens_per_second\": %.6g", q->n_prefill, r->prefill);
    printf(", \"generate_tokens\": %" PRIu32 ", \"generate_tokens_per_second\": %.6g", q->n_generate, r->generate);
    printf(", \"token_bytes\": %" PRIu64 ", \"weight_bytes_per_second\": %.6g", r->info.token_bytes, reached);
    printf(", \"read_bytes_per_second\": %.6g", r->bandwidth);
    printf(", \"bandwidth_share\": %.4f", r->bandwidth > 0 ? reached / r->bandwidth : 0.0);
    printf(", \"file_bytes\": %" PRIu64 ", \"kv_bytes\": %" PRIu64 ", \"work_bytes\": %" PRIu64, r->file_bytes,
           r->info.kv_bytes, r->info.work_bytes);
    printf(", \"peak_resident_bytes\": %" PRIu64, r->peak_bytes);
    print_json_parts("prefill_shares", r->prefill_parts);
    print_json_parts("generate_shares", r->generate_parts);
    putchar('}');
}

static void print_text(const request *q, const result *r) {
    double reached = r->generate * (double)r->info.token_bytes;
    printf("threads %" PRIu32 " (%s)\n", r->info.n_threads, ec_isa_name(ec_isa_best()));
    printf("  prefill   %9.1f tokens a second, %" PRIu32 " tokens\n", r->prefill, q->n_prefill);
    printf("  generate  %9.1f tokens a second, %" PRIu32 " tokens\n", r->generate, q->n_generate);
    printf("  weights   %9.2f MB a token: %.2f GB a second of %.2f that can be read (%.0f %%)\n",
           (double)r->info.token_bytes / 1e6, reached / 1e9, r->bandwidth / 1e9,
           r->bandwidth > 0 ? 100 * reached / r->bandwidth : 0.0);
    printf("  memory    %9.1f MB resident at most: file %.1f, keys and values %.1f, work %.1f\n",
           (double)r->peak_bytes / 1e6, (double)r->file_bytes / 1e6, (double)r->info.kv_bytes / 1e6,
           (double)r->info.work_bytes / 1e6);
    printf("  %-32s prefill  generate\n", "share of the time");
    for (int i = 0; i < EC_PART_COUNT; i++) {
        printf("  %-32s %5.1f %%   %5.1f %%\n", ec_part_name((ec_part)i), 100 * share(r->prefill_parts[i], r->prefill_parts),
               100 * share(r->generate_parts[i], r->generate_parts));
    }
}

static int measure_all(const request *q, const ec_map *map) {
    result r;
    for (size_t i = 0; i < q->n_settings; i++) {
        int status = measure(q, map, q->settings[i], &r);
        if (status != EXIT_OK) return status;
        if (q->json) {
            fputs(i != 0 ? ",\n " : q->n_settings > 1 ? "[" : "", stdout);
            print_json(q, &r);
        } else {
            print_text(q, &r);
        }
        if (fflush(stdout) != 0) return fail_stdout();
    }
    if (q->json) fputs(q->n_settings > 1 ? "]\n" : "\n", stdout);
    return finish_stdout(EXIT_OK);
}

static int parse(request *q, int argc, char **argv) {
    const option options[] = {
        {"--threads", OPTION_TEXT, &q->threads, 0, 0},
        {"--prefill", OPTION_U32, &q->n_prefill, 1, 65536},
        {"--generate", OPTION_U32, &q->n_generate, 1, 65536},
        {"--rounds", OPTION_U32, &q->n_rounds, 1, MAX_ROUNDS},
        {"--kv", OPTION_TEXT, &q->kv, 0, 0},
        {"--pin", OPTION_FLAG, &q->pin, 0, 0},
        {"--json", OPTION_FLAG, &q->json, 0, 0},
    };
    command_line line = {.help = help, .options = options, .n_options = sizeof options / sizeof options[0],
                         .n_operands = 1};
    int status = parse_command_line(&line, argc, argv);
    if (status != PARSED) return status;
    q->path = line.operands[0];
    q->n_settings = parse_threads(q->threads, q->settings, MAX_SETTINGS);
    if (q->n_settings == 0) return EXIT_USAGE;
    return parse_kv(q->kv, &q->keys) ? PARSED : fail(EXIT_USAGE, "expected f16 or int8", "--kv: %s", q->kv);
}

int command_bench(int argc, char **argv) {
    request q = {.threads = "0", .kv = "f16", .n_prefill = 256, .n_generate = 64, .n_rounds = 3};
    int status = parse(&q, argc, argv);
    ec_map map;
    ec_message why;
    if (status != PARSED) return status;
    if (!ec_map_open(q.path, &map, &why)) return fail_message(&why);
    status = measure_all(&q, &map);
    ec_map_close(&map);
    return status;
}
