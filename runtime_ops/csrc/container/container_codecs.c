/* The codecs that containers may hold, one row each. */
#include "container/container_codecs.h"

#include <stdio.h>

#include "kernels/kernels.h"
#include "codecs/tensor.h"

#define MAX_PERMUTED (UINT32_C(1) << 16) /* columns that uint16 can name */

typedef struct ec_key {
    const char *name;
    uint32_t kind;
} ec_key;

/* Takes n keys, which must come in this order: that of their names. */
static ec_status take_values(ec_pairs *pairs, const char *prefix, const ec_key *keys, uint32_t n,
                             ec_gguf_value *values) {
    ec_status status = EC_OK;
    for (uint32_t i = 0; i < n && status == EC_OK; i++) {
        status = ec_pairs_take(pairs, prefix, keys[i].name, keys[i].kind, &values[i]);
    }
    return status;
}

static ec_part payload(const char *name, uint32_t type, uint64_t size, uint32_t element_bytes) {
    ec_part result = {name, type, size, size * element_bytes, EC_PART_CODES};
    return result;
}

static ec_part part(ec_part_field field, const char *name, uint32_t type, uint64_t size, uint32_t element_bytes) {
    ec_part result = payload(name, type, size, element_bytes);
    result.field = field;
    return result;
}

/* ---- raw -------------------------------------------------------------------------------------- */

static ec_status take_raw(ec_pairs *pairs, const char *prefix, ec_format *format) {
    enum { CODEC, DTYPE, N_KEYS };
    static const ec_key keys[N_KEYS] = {{"codec", EC_GGUF_STRING}, {"dtype", EC_GGUF_STRING}};
    ec_gguf_value v[N_KEYS];
    ec_status status = take_values(pairs, prefix, keys, N_KEYS, v);
    if (status != EC_OK) return status;
    int half = ec_slice_is(v[DTYPE].bytes, "f16");
    format->codec = half ? EC_CODEC_RAW_F16 : EC_CODEC_RAW_F32;
    return half || ec_slice_is(v[DTYPE].bytes, "f32") ? EC_OK : EC_BAD_FORMAT;
}

static uint32_t list_raw(const ec_format *format, uint64_t rows, uint64_t columns, ec_part parts[]) {
    int half = format->codec == EC_CODEC_RAW_F16;
    uint32_t type = half ? EC_GGUF_TENSOR_F16 : EC_GGUF_TENSOR_F32;
    parts[0] = part(EC_PART_CODES, "raw", type, rows * columns, half ? 2 : 4);
    return 1;
}

/* ---- winding ---------------------------------------------------------------------------------- */

static ec_status take_winding(ec_pairs *pairs, const char *prefix, ec_format *format) {
    enum { CENTRE, CLASSES, CODEC, DIM, GENERATOR, GROUP, LEVELS, OFFSET, PACKING, POINTS, SHIFT, TABLE, N_KEYS };
    static const ec_key keys[N_KEYS] = {
        {"centre", EC_GGUF_BOOL},
        {"classes", EC_GGUF_U32},
        {"codec", EC_GGUF_STRING},
        {"dim", EC_GGUF_U32},
        {"generator", EC_GGUF_ARRAY_OF(EC_GGUF_U32)},
        {"group", EC_GGUF_U32},
        {"levels", EC_GGUF_U32},
        {"offset", EC_GGUF_U32},
        {"packing", EC_GGUF_STRING},
        {"points", EC_GGUF_U32},
        {"shift", EC_GGUF_ARRAY_OF(EC_GGUF_U32)},
        {"table", EC_GGUF_U32},
    };
    ec_gguf_value v[N_KEYS];
    ec_winding *w = &format->winding;
    ec_status status = take_values(pairs, prefix, keys, N_KEYS, v);
    if (status != EC_OK) return status;
    int radix = ec_slice_is(v[PACKING].bytes, "radix");
    if (!radix && !ec_slice_is(v[PACKING].bytes, "bits")) return EC_BAD_FORMAT;
    format->codec = EC_CODEC_WINDING;
    w->dim = ec_load_u32(v[DIM].bytes.data);
    w->points = ec_load_u32(v[POINTS].bytes.data);
    w->levels = ec_load_u32(v[LEVELS].bytes.data);
    w->offset = ec_load_u32(v[OFFSET].bytes.data);
    w->centre = v[CENTRE].bytes.data[0];
    w->classes = ec_load_u32(v[CLASSES].bytes.data);
    w->group = ec_load_u32(v[GROUP].bytes.data);
    w->radix_packed = (uint32_t)radix;
    if (w->dim > EC_MAX_DIM || v[GENERATOR].count != w->dim || v[SHIFT].count != w->dim) return EC_BAD_FORMAT;
    for (uint32_t d = 0; d < w->dim; d++) {
        w->generator[d] = ec_load_u32(v[GENERATOR].bytes.data + 4 * d);
        w->shift[d] = ec_load_u32(v[SHIFT].bytes.data + 4 * d);
    }
    format->table_number = ec_load_u32(v[TABLE].bytes.data);
    format->table = payload("table", EC_GGUF_TENSOR_I16, w->levels, 2);
    return ec_winding_check(w);
}

static void set_winding_table(ec_format *format, const uint8_t *data) { format->winding.table = data; }

static ec_status check_winding_table(const ec_format *format) { return ec_winding_check(&format->winding); }

static uint32_t list_winding(const ec_format *format, uint64_t rows, uint64_t columns, ec_part parts[]) {
    const ec_winding *w = &format->winding;
    uint64_t n_weights = rows * columns;
    uint64_t codes = ec_winding_codes_bytes(w, n_weights);
    uint32_t n = 0;
    parts[n++] = part(EC_PART_CODES, "codes", EC_GGUF_TENSOR_I8, codes, 1);
    if (w->group != 0) {
        uint64_t groups = (n_weights + w->group - 1) / w->group;
        parts[n++] = part(EC_PART_SCALES, "scales", EC_GGUF_TENSOR_I8, groups, 1);
    }
    parts[n++] = part(EC_PART_PARAMS, "params", EC_GGUF_TENSOR_F32, w->dim + w->classes, 4);
    return n;
}

/* ---- crvq ------------------------------------------------------------------------------------- */

static ec_status take_crvq(ec_pairs *pairs, const char *prefix, ec_format *format) {
    enum { CODE_BITS, CODEBOOKS, CODEC, CRITICAL_GROUPS, DIM, SHIFTS, WIDE, N_KEYS };
    static const ec_key keys[N_KEYS] = {
        {"code_bits", EC_GGUF_U32},
        {"codebooks", EC_GGUF_U32},
        {"codec", EC_GGUF_STRING},
        {"critical_groups", EC_GGUF_ARRAY_OF(EC_GGUF_U32)},
        {"dim", EC_GGUF_U32},
        {"shifts", EC_GGUF_ARRAY_OF(EC_GGUF_U32)},
        {"wide", EC_GGUF_BOOL},
    };
    ec_gguf_value v[N_KEYS];
    ec_crvq *q = &format->crvq;
    ec_status status = take_values(pairs, prefix, keys, N_KEYS, v);
    if (status != EC_OK) return status;
    format->codec = EC_CODEC_CRVQ;
    format->table_number = ec_load_u32(v[CODEBOOKS].bytes.data);
    if (format->table_number == 0 || v[SHIFTS].count > EC_MAX_STAGES) return EC_BAD_FORMAT;
    if (v[CRITICAL_GROUPS].count != v[SHIFTS].count) return EC_BAD_FORMAT;
    q->dim = ec_load_u32(v[DIM].bytes.data);
    q->code_bits = ec_load_u32(v[CODE_BITS].bytes.data);
    q->wide = v[WIDE].bytes.data[0];
    q->stages = (uint32_t)v[SHIFTS].count;
    for (uint32_t k = 0; k < q->stages; k++) {
        q->critical_groups[k] = ec_load_u32(v[CRITICAL_GROUPS].bytes.data + 4 * k);
        q->shifts[k] = ec_load_u32(v[SHIFTS].bytes.data + 4 * k);
    }
    status = ec_crvq_check(q);
    if (status != EC_OK) return status;
    uint32_t type = q->wide ? EC_GGUF_TENSOR_I16 : EC_GGUF_TENSOR_I8;
    format->table = payload("codebooks", type, (uint64_t)q->stages * q->dim << q->code_bits, q->wide ? 2 : 1);
    return EC_OK;
}

static void set_codebooks(ec_format *format, const uint8_t *data) { format->crvq.codebooks = data; }

static uint32_t list_crvq(const ec_format *format, uint64_t rows, uint64_t columns, ec_part parts[]) {
    const ec_crvq *q = &format->crvq;
    uint32_t n = 0;
    if (!ec_crvq_fits(q, columns)) return 0;
    parts[n++] = part(EC_PART_CODES, "codes", EC_GGUF_TENSOR_I8, ec_crvq_codes_bytes(q, rows, columns), 1);
    if (q->critical_groups[1] > 0) {
        parts[n++] = part(EC_PART_EXTENDED, "extended", EC_GGUF_TENSOR_I8, ec_crvq_extended_bytes(q, rows), 1);
    }
    parts[n++] = part(EC_PART_SCALES, "scales", EC_GGUF_TENSOR_F16, rows, 2);
    parts[n++] = part(EC_PART_PARAMS, "params", EC_GGUF_TENSOR_F32, 1, 4);
    return n;
}

/* ---- trellis ---------------------------------------------------------------------------------- */

static ec_status take_trellis(ec_pairs *pairs, const char *prefix, ec_format *format) {
    enum { CODEC, FOLD, MULTIPLIERS, ROTATION, SEED, STATE_BITS, STEP_BITS, TABLE, TABLE_BITS, WIDE, N_KEYS };
    static const ec_key keys[N_KEYS] = {
        {"codec", EC_GGUF_STRING},
        {"fold", EC_GGUF_U32},
        {"multipliers", EC_GGUF_ARRAY_OF(EC_GGUF_U32)},
        {"rotation", EC_GGUF_U32},
        {"seed", EC_GGUF_U32},
        {"state_bits", EC_GGUF_U32},
        {"step_bits", EC_GGUF_U32},
        {"table", EC_GGUF_U32},
        {"table_bits", EC_GGUF_U32},
        {"wide", EC_GGUF_BOOL},
    };
    ec_gguf_value v[N_KEYS];
    ec_trellis *t = &format->trellis;
    ec_status status = take_values(pairs, prefix, keys, N_KEYS, v);
    if (status != EC_OK) return status;
    format->codec = EC_CODEC_TRELLIS;
    format->table_number = ec_load_u32(v[TABLE].bytes.data);
    if (format->table_number == 0 || v[MULTIPLIERS].count > 2) return EC_BAD_FORMAT;
    t->state_bits = ec_load_u32(v[STATE_BITS].bytes.data);
    t->step_bits = ec_load_u32(v[STEP_BITS].bytes.data);
    t->dim = (uint32_t)v[MULTIPLIERS].count;
    for (uint32_t d = 0; d < t->dim; d++) t->multipliers[d] = ec_load_u32(v[MULTIPLIERS].bytes.data + 4 * d);
    t->fold = ec_load_u32(v[FOLD].bytes.data);
    t->table_bits = ec_load_u32(v[TABLE_BITS].bytes.data);
    t->wide = v[WIDE].bytes.data[0];
    t->rotation = ec_load_u32(v[ROTATION].bytes.data);
    t->seed = ec_load_u32(v[SEED].bytes.data);
    status = ec_trellis_check(t);
    if (status != EC_OK) return status;
    uint32_t type = t->wide ? EC_GGUF_TENSOR_I16 : EC_GGUF_TENSOR_I8;
    format->table = payload("table", type, UINT64_C(1) << t->table_bits, t->wide ? 2 : 1);
    return EC_OK;
}

static void set_trellis_table(ec_format *format, const uint8_t *data) { format->trellis.table = data; }

static uint32_t list_trellis(const ec_format *format, uint64_t rows, uint64_t columns, ec_part parts[]) {
    const ec_trellis *t = &format->trellis;
    if (!ec_trellis_fits(t, columns)) return 0;
    parts[0] = part(EC_PART_CODES, "codes", EC_GGUF_TENSOR_I8, ec_trellis_codes_bytes(t, rows, columns), 1);
    parts[1] = part(EC_PART_SCALES, "scales", EC_GGUF_TENSOR_F16, rows, 2);
    parts[2] = part(EC_PART_PARAMS, "params", EC_GGUF_TENSOR_F32, 1, 4);
    return 3;
}

/* ---- uniform ---------------------------------------------------------------------------------- */

static ec_status take_uniform(ec_pairs *pairs, const char *prefix, ec_format *format) {
    enum { BITS, CODEC, GROUP, N_KEYS };
    static const ec_key keys[N_KEYS] = {{"bits", EC_GGUF_U32}, {"codec", EC_GGUF_STRING}, {"group", EC_GGUF_U32}};
    ec_gguf_value v[N_KEYS];
    ec_status status = take_values(pairs, prefix, keys, N_KEYS, v);
    if (status != EC_OK) return status;
    format->codec = EC_CODEC_UNIFORM;
    format->uniform.bits = ec_load_u32(v[BITS].bytes.data);
    format->uniform.group = ec_load_u32(v[GROUP].bytes.data);
    return ec_uniform_check(&format->uniform);
}

static uint32_t list_uniform(const ec_format *format, uint64_t rows, uint64_t columns, ec_part parts[]) {
    const ec_uniform *u = &format->uniform;
    parts[0] = part(EC_PART_CODES, "codes", EC_GGUF_TENSOR_I8, ec_uniform_codes_bytes(u, rows, columns), 1);
    parts[1] = part(EC_PART_SCALES, "scales", EC_GGUF_TENSOR_F16, ec_uniform_scales(u, rows, columns), 2);
    parts[2] = part(EC_PART_PARAMS, "params", EC_GGUF_TENSOR_F32, 1, 4);
    return 3;
}

/* ---- columns: formats for the first columns and for the rest ---------------------------------- */

static ec_status take_columns(ec_pairs *pairs, const char *prefix, ec_format *format) {
    enum { CODEC, COLUMNS, FORMATS, N_CRITICAL, PERMUTATION, N_KEYS };
    static const ec_key keys[N_KEYS] = {
        {"codec", EC_GGUF_STRING},
        {"columns", EC_GGUF_U32},
        {"formats", EC_GGUF_ARRAY_OF(EC_GGUF_U32)},
        {"n_critical", EC_GGUF_U32},
        {"permutation", EC_GGUF_U32},
    };
    ec_gguf_value v[N_KEYS];
    ec_columns *c = &format->columns;
    ec_status status = take_values(pairs, prefix, keys, N_KEYS, v);
    if (status != EC_OK) return status;
    format->table_number = ec_load_u32(v[PERMUTATION].bytes.data);
    c->permuted = ec_load_u32(v[COLUMNS].bytes.data);
    c->n_critical = ec_load_u32(v[N_CRITICAL].bytes.data);
    if (c->permuted > MAX_PERMUTED || (c->permuted == 0) != (format->table_number == 0)) return EC_BAD_FORMAT;
    if (c->permuted == 0 && c->n_critical == 0) return EC_BAD_FORMAT;
    if (v[FORMATS].count != (c->n_critical == 0 ? 1 : 2)) return EC_BAD_FORMAT;
    c->n_formats = (uint32_t)v[FORMATS].count;
    for (uint32_t k = 0; k < c->n_formats; k++) c->formats[k] = ec_load_u32(v[FORMATS].bytes.data + 4 * k);
    format->table = payload("permutation", EC_GGUF_TENSOR_I16, c->permuted, 2);
    return EC_OK;
}

static void set_permutation(ec_format *format, const uint8_t *data) { format->columns.permutation = data; }

static ec_status check_permutation(const ec_format *format) {
    return ec_permutation_check(format->columns.permutation, format->columns.permuted);
}

/* ---- all -------------------------------------------------------------------------------------- */

static const ec_codec_row codecs[] = {
    {"raw", take_raw, NULL, NULL, list_raw},
    {"winding", take_winding, set_winding_table, check_winding_table, list_winding},
    {"crvq", take_crvq, set_codebooks, NULL, list_crvq},
    {"trellis", take_trellis, set_trellis_table, NULL, list_trellis},
    {"uniform", take_uniform, NULL, NULL, list_uniform},
    {"columns", take_columns, set_permutation, check_permutation, NULL},
};

/* The row of a format's codec. Its key is looked up among the format's, which are sorted, from the
 * first on; `ahead` is a copy, so that none is taken. */
static ec_status find_codec(ec_pairs ahead, const char *prefix, const ec_codec_row **row) {
    char codec_key[48];
    snprintf(codec_key, sizeof codec_key, "%scodec", prefix);
    ec_slice wanted = {(const uint8_t *)codec_key, strlen(codec_key)};
    for (;; ahead.current = 0) {
        ec_status status = ec_pairs_peek(&ahead);
        if (status != EC_OK) return status;
        if (!ec_slice_starts(ahead.pair.key, prefix)) return EC_BAD_METADATA;
        int order = ec_slice_compare(ahead.pair.key, wanted);
        if (order > 0) return EC_BAD_METADATA;
        if (order == 0) break;
    }
    if (ahead.pair.value.kind != EC_GGUF_STRING) return EC_BAD_METADATA;
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++) {
        *row = &codecs[i];
        if (ec_slice_is(ahead.pair.value.bytes, codecs[i].name)) return EC_OK;
    }
    return EC_BAD_FORMAT;
}

ec_status ec_format_take(ec_pairs *pairs, uint32_t i, ec_format *format) {
    char prefix[40];
    snprintf(prefix, sizeof prefix, "edgecomp.format.%lu.", (unsigned long)i);
    memset(format, 0, sizeof *format);
    ec_status status = find_codec(*pairs, prefix, &format->row);
    return status == EC_OK ? format->row->take_keys(pairs, prefix, format) : status;
}
