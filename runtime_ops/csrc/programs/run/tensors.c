/* `list` and `decode`: what lies in a container, and the weights of one tensor. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "programs/run/commands.h"
#include "programs/run/options.h"
#include "programs/run/output.h"
#include "programs/run/report.h"
#include "runner/map.h"

#define PIECE (UINT64_C(1) << 20) /* weights that are decoded at a time: 4 MiB */
#define PIECE_ROWS 16             /* of which rows come in multiples: trellises are stored so */

static const char list_help[] =
    "edgecomp-run list FILE [--json]\n"
    "\n"
    "Names, shapes, codecs, sizes in bytes and bits per weight of a container's tensors.\n"
    "\n"
    "  --json   as one JSON array\n";

static const char decode_help[] =
    "edgecomp-run decode FILE TENSOR [-o OUT] [--rows A:B]\n"
    "\n"
    "The weights of a tensor as float32, little-endian, in C order: to stdout, or to a file.\n"
    "\n"
    "  -o, --out OUT   the file, which appears when it is complete\n"
    "  --rows A:B      rows A to B - 1 alone (of the first dimension)\n";

static const char *codec_name(ec_codec codec) {
    switch (codec) {
    case EC_CODEC_RAW_F32: return "f32";
    case EC_CODEC_RAW_F16: return "f16";
    case EC_CODEC_WINDING: return "winding";
    case EC_CODEC_CRVQ: return "crvq";
    case EC_CODEC_TRELLIS: return "trellis";
    case EC_CODEC_UNIFORM: return "uniform";
    }
    return "other";
}

static uint64_t matrix_bytes(const ec_matrix *m) {
    return m->codes_bytes + m->extended_bytes + m->scales_bytes + m->params_bytes;
}

static void print_tensor(const ec_slice *name, const ec_tensor *t, int json) {
    uint64_t bytes = matrix_bytes(&t->rest) + t->permutation_bytes;
    const char *separator = t->n_critical != 0 ? "+" : "", *critical = "";
    if (t->n_critical != 0) {
        bytes += matrix_bytes(&t->critical);
        critical = codec_name(t->critical.codec);
    }
    double bits = t->n_weights != 0 ? 8.0 * (double)bytes / (double)t->n_weights : 0.0;
    if (json) {
        fputs("{\"name\": ", stdout);
        print_json_string(stdout, (const char *)name->data, (size_t)name->size);
        fputs(", \"shape\": [", stdout);
    } else {
        printf("%-48.*s ", (int)name->size, (const char *)name->data);
    }
    for (uint32_t i = 0; i < t->n_dims; i++) printf("%s%" PRIu64, i == 0 ? "" : json ? ", " : "x", t->shape[i]);
    const char *format = json ? "], \"codec\": \"%s%s%s\", \"bytes\": %" PRIu64 ", \"bits_per_weight\": %.4f}"
                              : "  %s%s%s  %" PRIu64 " bytes, %.3f bits per weight\n";
    printf(format, critical, separator, codec_name(t->rest.codec), bytes, bits);
}

static int list_container(const char *path, const ec_map *map, int json) {
    ec_container container;
    ec_status status = ec_container_open(map->data, map->size, &container);
    for (uint32_t i = 0; status == EC_OK && i < container.n_tensors; i++) {
        ec_tensor tensor;
        ec_slice name;
        status = ec_container_name(&container, i, &name);
        if (status == EC_OK) status = ec_container_tensor(&container, i, &tensor);
        if (json) fputs(i == 0 ? "[" : ",\n ", stdout);
        if (status == EC_OK) print_tensor(&name, &tensor, json);
    }
    if (status != EC_OK) return fail_status(path, status);
    if (json) fputs(container.n_tensors == 0 ? "[]\n" : "]\n", stdout);
    return finish_stdout(EXIT_OK);
}

int command_list(int argc, char **argv) {
    int json = 0;
    const option options[] = {{"--json", OPTION_FLAG, &json, 0, 0}};
    command_line line = {.help = list_help, .options = options, .n_options = 1, .n_operands = 1};
    int status = parse_command_line(&line, argc, argv);
    ec_map map;
    ec_message why;
    if (status != PARSED) return status;
    if (!ec_map_open(line.operands[0], &map, &why)) return fail_message(&why);
    status = list_container(line.operands[0], &map, json);
    ec_map_close(&map);
    return status;
}

/* "A:B", where both ends may be left out, of n_rows: 1, or 0. */
static int parse_rows(const char *text, uint64_t n_rows, uint64_t *first, uint64_t *end) {
    char a[24] = "0", b[24];
    const char *colon = strchr(text, ':');
    uint32_t from, to;
    double most = n_rows < UINT32_MAX ? (double)n_rows : (double)UINT32_MAX;
    if (colon == NULL || colon - text >= (long)sizeof a || strlen(colon + 1) >= sizeof b) return 0;
    snprintf(b, sizeof b, "%.0f", most);
    if (colon != text) snprintf(a, sizeof a, "%.*s", (int)(colon - text), text);
    if (colon[1] != 0) snprintf(b, sizeof b, "%s", colon + 1);
    if (!parse_u32(a, 0, most, &from) || !parse_u32(b, 0, most, &to) || from > to) return 0;
    *first = from;
    *end = to;
    return 1;
}

/* Weights first .. end - 1 in pieces: whole groups of rows unless a row is larger than a piece. */
static int write_weights(const ec_tensor *tensor, uint64_t first, uint64_t end, output *out) {
    uint64_t n_rows = tensor->n_dims != 0 ? tensor->shape[0] : 1, columns = n_rows != 0 ? tensor->n_weights / n_rows : 0;
    uint64_t rows = columns != 0 ? PIECE / columns / PIECE_ROWS * PIECE_ROWS : 0, piece = rows != 0 ? rows * columns : PIECE;
    float *weights = malloc((size_t)piece * sizeof *weights);
    if (weights == NULL) return fail(EXIT_FAILED, "", "no memory");
    int result = EXIT_OK;
    for (uint64_t count; result == EXIT_OK && first < end && !interrupted; first += count) {
        count = end - first < piece ? end - first : piece;
        ec_status status = ec_decode(tensor, first, count, weights, EC_ISA_BEST);
        if (status != EC_OK) result = fail(EXIT_FAILED, "", "decoding: %s", ec_status_text(status));
        else if (fwrite(weights, sizeof *weights, (size_t)count, out->file) != count) result = output_failed(out);
    }
    free(weights);
    return result == EXIT_OK && interrupted ? EXIT_INTERRUPTED : result;
}

typedef struct request { const char *path, *name, *out, *rows; } request;

static int decode_tensor(const request *r, const ec_map *map) {
    ec_container container;
    ec_tensor tensor;
    uint32_t i;
    output out;
    ec_status status = ec_container_open(map->data, map->size, &container);
    if (status != EC_OK) return fail_status(r->path, status);
    if (ec_container_find(&container, r->name, strlen(r->name), &i) != EC_OK) {
        return fail(EXIT_FAILED, "`edgecomp-run list FILE` names them", "no tensor of this name: %s", r->name);
    }
    status = ec_container_tensor(&container, i, &tensor);
    if (status != EC_OK) return fail_status(r->path, status);
    uint64_t n_rows = tensor.n_dims != 0 ? tensor.shape[0] : 1, first = 0, end = n_rows;
    if (r->rows != NULL && !parse_rows(r->rows, n_rows, &first, &end)) {
        return fail(EXIT_USAGE, "expected A:B, as in 0:16", "--rows: %s of %" PRIu64 " rows", r->rows, n_rows);
    }
    uint64_t columns = n_rows != 0 ? tensor.n_weights / n_rows : 0;
    int result = output_open(&out, r->out, r->path);
    if (result != EXIT_OK) return result;
    return output_close(&out, write_weights(&tensor, first * columns, end * columns, &out));
}

int command_decode(int argc, char **argv) {
    request r = {NULL, NULL, NULL, NULL};
    const option options[] = {
        {"-o", OPTION_TEXT, &r.out, 0, 0}, {"--out", OPTION_TEXT, &r.out, 0, 0}, {"--rows", OPTION_TEXT, &r.rows, 0, 0}};
    command_line line = {.help = decode_help, .options = options, .n_options = 3, .n_operands = 2};
    int status = parse_command_line(&line, argc, argv);
    ec_map map;
    ec_message why;
    if (status != PARSED) return status;
    r.path = line.operands[0];
    r.name = line.operands[1];
    if (r.out == NULL && isatty(STDOUT_FILENO)) {
        return fail(EXIT_USAGE, "name a file with -o OUT, or redirect", "stdout is a terminal, weights are not text");
    }
    if (!ec_map_open(r.path, &map, &why)) return fail_message(&why);
    status = decode_tensor(&r, &map);
    ec_map_close(&map);
    return status;
}
