/* `run`: a prompt's continuation, token by token. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "programs/run/commands.h"
#include "programs/run/model_options.h"
#include "programs/run/options.h"
#include "programs/run/prompt.h"
#include "programs/run/report.h"
#include "programs/run/text.h"
#include "runner/map.h"

#define EVALUATED 128 /* tokens of a prompt between two looks at Ctrl-C */

static const char help[] =
    "edgecomp-run run FILE [-p PROMPT | -f PROMPTFILE] [options]\n"
    "\n"
    "Continues a prompt with the language model of a container: text to stdout as it comes, what it took to\n"
    "stderr. Without -p and -f the prompt is read from stdin.\n"
    "\n"
    "  -p, --prompt TEXT      the prompt; tokens such as <|im_start|> are taken for what they are\n"
    "  -f, --file FILE        or a file that holds it (-: stdin)\n"
    "  -n, --max-tokens N     tokens to generate at most (256)\n"
    "  --temperature T        0: always the likeliest token, the same text every time (0)\n"
    "  --top-k K              sample from the K likeliest tokens (0: all)\n"
    "  --top-p P              from the likeliest ones whose probabilities reach P together (1: all)\n"
    "  --min-p P              from those at least P times as likely as the likeliest (0: all)\n"
    "  --seed S               of the sampling: the same seed, the same text (0)\n"
    "  --threads N            threads (0: one for each core); the text does not depend on it\n"
    "  --pin                  each thread stays on a core, the fastest first\n"
    "  --context N            tokens that are kept, the prompt's among them (0: the model's, at most 4096)\n"
    "  --kv f16|int8          how keys and values are kept; int8 takes half the memory (f16)\n"
    "  --ignore-eos           goes on behind the end of the text\n"
    "  --tokens               prints the tokens' numbers, one in a line, instead of text\n"
    "  --quiet                prints no figures at the end\n";

typedef struct request {
    const char *path, *prompt, *prompt_file, *kv;
    uint32_t n_max;
    ec_sampling sampling;
    ec_model_options model;
    int pin, ignore_eos, numbers, quiet;
} request;

/* What a run holds; all of it may be NULL. */
typedef struct run {
    const request *request;
    ec_map map;
    prompt prompt;
    ec_model *model;
    ec_model_info info;
    ec_tokenizer *tokenizer;
    ec_sampler *sampler;
    uint32_t *tokens;   /* of the prompt: [n_tokens] */
    size_t n_tokens;
    float *logits;      /* [n_vocab] */
    uint32_t n_generated;
    int is_full;        /* the context: the text ends for it */
    uint64_t prompt_ns, generate_ns;
} run;

static int open_parts(run *r) {
    ec_message why = {"", ""};
    if (!ec_map_open(r->request->path, &r->map, &why)) return fail_message(&why);
    r->model = ec_model_open(r->map.data, r->map.size, &r->request->model, &why);
    if (r->model == NULL) return fail_file(r->request->path, &why);
    ec_model_info_get(r->model, &r->info);
    r->tokenizer = ec_tokenizer_open(r->map.data, r->map.size, &why);
    if (r->tokenizer == NULL) return fail_file(r->request->path, &why);
    r->sampler = ec_sampler_new(&r->request->sampling, r->info.n_vocab, &why);
    if (r->sampler == NULL) return fail_message(&why);
    r->logits = malloc((size_t)r->info.n_vocab * sizeof *r->logits);
    return r->logits != NULL ? EXIT_OK : fail(EXIT_FAILED, "", "no memory");
}

static int read_tokens(run *r) {
    size_t room = r->prompt.n + 16; /* rarely too few */
    for (int turn = 0; turn < 2; turn++) {
        free(r->tokens);
        r->tokens = malloc(room * sizeof *r->tokens);
        if (r->tokens == NULL) return fail(EXIT_FAILED, "", "no memory");
        r->n_tokens = ec_tokenizer_encode(r->tokenizer, r->prompt.bytes, r->prompt.n, 1, 1, r->tokens, room);
        if (r->n_tokens <= room) break;
        room = r->n_tokens;
    }
    if (r->n_tokens == 0) return fail(EXIT_USAGE, "this model starts from a text: give it one", "the prompt is empty");
    if (r->n_tokens > r->info.n_context) {
        return fail(EXIT_FAILED, "--context N keeps more tokens", "the prompt has %zu tokens, the context holds %" PRIu32,
                    r->n_tokens, r->info.n_context);
    }
    return EXIT_OK;
}

static int evaluate_prompt(run *r) {
    ec_message why;
    uint64_t start = now_ns();
    for (size_t i = 0, n; i < r->n_tokens; i += n) {
        n = r->n_tokens - i < EVALUATED ? r->n_tokens - i : EVALUATED;
        if (interrupted) return EXIT_INTERRUPTED;
        float *logits = i + n == r->n_tokens ? r->logits : NULL;
        if (!ec_model_eval(r->model, r->tokens + i, (uint32_t)n, logits, &why)) return fail_message(&why);
    }
    r->prompt_ns = now_ns() - start;
    return EXIT_OK;
}

/* The loop of generation: EXIT_OK when the text or the number of tokens is at its end. */
static int generate(run *r, text_writer *writer) {
    ec_message why;
    uint64_t start = now_ns();
    while (r->n_generated < r->request->n_max && !interrupted) {
        uint32_t token = ec_sampler_next(r->sampler, r->logits);
        if (token == EC_NO_TOKEN) return fail(EXIT_FAILED, "the file is damaged", "the model's results are not numbers");
        if (ec_tokenizer_is_end(r->tokenizer, token) && !r->request->ignore_eos) break;
        if (!text_token(writer, token)) return fail_stdout();
        r->n_generated++;
        if (r->n_generated == r->request->n_max) break;
        if (ec_model_past(r->model) >= r->info.n_context) {
            r->is_full = 1;
            break;
        }
        if (!ec_model_eval(r->model, &token, 1, r->logits, &why)) return fail_message(&why);
        r->generate_ns = now_ns() - start;
    }
    if (!text_end(writer)) return fail_stdout();
    return interrupted ? EXIT_INTERRUPTED : EXIT_OK;
}

static double rate(uint64_t tokens, uint64_t ns) { return ns != 0 ? 1e9 * (double)tokens / (double)ns : 0.0; }

static void print_figures(const run *r) {
    uint64_t evaluated = ec_model_past(r->model) - r->n_tokens;
    fprintf(stderr, "prompt: %zu tokens, %.1f a second; text: %" PRIu32 " tokens, %.1f a second; threads: %" PRIu32 "\n",
            r->n_tokens, rate(r->n_tokens, r->prompt_ns), r->n_generated, rate(evaluated, r->generate_ns),
            r->info.n_threads);
}

static int run_all(run *r) {
    text_writer writer = {.first = 0};
    int status = open_parts(r);
    if (status == EXIT_OK) status = prompt_read(&r->prompt, r->request->prompt, r->request->prompt_file);
    if (status == EXIT_OK) status = read_tokens(r);
    if (status == EXIT_OK) status = evaluate_prompt(r);
    if (status != EXIT_OK) return status;
    writer.first = r->n_tokens == 1 && r->tokens[0] == ec_tokenizer_bos(r->tokenizer);
    writer.tokenizer = r->request->numbers ? NULL : r->tokenizer;
    status = generate(r, &writer);
    if (status != EXIT_OK && status != EXIT_INTERRUPTED) return status;
    if (r->is_full || !r->request->quiet) fputc('\n', stderr);
    if (r->is_full) fprintf(stderr, "note: the context of %" PRIu32 " tokens is full\n", r->info.n_context);
    if (!r->request->quiet) print_figures(r);
    return status;
}

static int parse(request *r, int argc, char **argv) {
    ec_sampling *s = &r->sampling;
    const option options[] = {
        {"-p", OPTION_TEXT, &r->prompt, 0, 0}, {"--prompt", OPTION_TEXT, &r->prompt, 0, 0},
        {"-f", OPTION_TEXT, &r->prompt_file, 0, 0}, {"--file", OPTION_TEXT, &r->prompt_file, 0, 0},
        {"-n", OPTION_U32, &r->n_max, 1, 1e9}, {"--max-tokens", OPTION_U32, &r->n_max, 1, 1e9},
        {"--temperature", OPTION_FLOAT, &s->temperature, 0, 100}, {"--top-k", OPTION_U32, &s->top_k, 0, 1e9},
        {"--top-p", OPTION_FLOAT, &s->top_p, 0, 1}, {"--min-p", OPTION_FLOAT, &s->min_p, 0, 1},
        {"--seed", OPTION_U64, &s->seed, 0, 0}, {"--threads", OPTION_U32, &r->model.n_threads, 0, EC_MAX_THREADS},
        {"--pin", OPTION_FLAG, &r->pin, 0, 0}, {"--context", OPTION_U32, &r->model.n_context, 0, MAX_CONTEXT},
        {"--kv", OPTION_TEXT, &r->kv, 0, 0}, {"--ignore-eos", OPTION_FLAG, &r->ignore_eos, 0, 0},
        {"--tokens", OPTION_FLAG, &r->numbers, 0, 0}, {"--quiet", OPTION_FLAG, &r->quiet, 0, 0},
    };
    command_line line = {.help = help, .options = options, .n_options = sizeof options / sizeof options[0],
                         .n_operands = 1};
    int status = parse_command_line(&line, argc, argv);
    if (status != PARSED) return status;
    r->path = line.operands[0];
    r->model.pin = (uint32_t)r->pin;
    if (r->prompt != NULL && r->prompt_file != NULL) {
        return fail(EXIT_USAGE, "leave out one of them", "-p and -f both name a prompt");
    }
    return parse_kv(r->kv, &r->model.kv) ? PARSED : fail(EXIT_USAGE, "expected f16 or int8", "--kv: %s", r->kv);
}

int command_run(int argc, char **argv) {
    request request = {.n_max = 256, .kv = "f16", .sampling = {.top_p = 1}, .model = {.isa = EC_ISA_BEST}};
    run r = {.request = &request};
    int status = parse(&request, argc, argv);
    if (status != PARSED) return status;
    status = run_all(&r);
    free(r.logits);
    free(r.tokens);
    free(r.prompt.bytes);
    ec_sampler_free(r.sampler);
    ec_tokenizer_free(r.tokenizer);
    ec_model_free(r.model);
    ec_map_close(&r.map);
    return status;
}
