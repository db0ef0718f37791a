/* Products without a model: runner/linear.c is where a model's are. */
#include "programs/run/measure_product.h"

#include <string.h>

#define ROWS 64   /* whose products with */
#define TOKENS 16 /* tokens ec_gemm writes at a time, as in a model */
#define LARGE 2048 /* rows of a large matrix: outputs of its tokens fall into the same few places of a cache */
#define FILLED 1024 /* of them that are written */

int is_matrix(const ec_tensor *tensor) {
    return tensor->n_dims >= 2 && tensor->shape[0] != 0 && tensor->n_weights / tensor->shape[0] > 1;
}

/* Numbers from -1 to 1 without a pattern, the same ones each time. */
static void fill(float *x, uint64_t n) {
    uint32_t state = 1;
    for (uint64_t i = 0; i < n; i++) {
        state = state * UINT32_C(1664525) + UINT32_C(1013904223);
        x[i] = (float)(int32_t)state * 0x1p-31f;
    }
}

/* The inputs in the order of the tensor's columns, and rotated. NULL when there is no memory. */
static const float *prepared(const ec_tensor *tensor, uint64_t columns, uint64_t n_tokens, ec_memory *memory) {
    uint64_t bytes = n_tokens * columns * sizeof(float);
    float *x = ec_memory_take(memory, bytes), *out = ec_memory_take(memory, bytes);
    if (x == NULL || out == NULL) return NULL;
    fill(x, n_tokens * columns);
    return ec_input_prepare(tensor, x, n_tokens, out, EC_ISA_BEST) == EC_OK ? out : NULL;
}

int product_begin(product *p, const ec_tensor *tensor, uint64_t n_tokens, ec_memory *memory) {
    uint64_t rows = tensor->shape[0], columns = tensor->n_weights / rows;
    *p = (product){.tensor = *tensor, .rows = rows, .columns = columns, .n_tokens = n_tokens};
    p->is_integer = ec_tensor_is_integer(tensor);
    p->x = prepared(tensor, columns, n_tokens, memory);
    p->y_stride = n_tokens > 1 && rows < LARGE ? LARGE : rows;
    p->y = ec_memory_take(memory, n_tokens * p->y_stride * sizeof *p->y);
    if (p->x == NULL || p->y == NULL) return 0;
    if (!p->is_integer) return 1;
    void *quantised = ec_memory_take(memory, ec_quantised_bytes(tensor, n_tokens));
    p->quantised = quantised;
    return quantised != NULL && ec_input_quantise(tensor, p->x, n_tokens, quantised, EC_ISA_BEST) == EC_OK;
}

static void multiply_floats(const product *p, const ec_tensor *tensor, uint64_t first, uint64_t n, float *y) {
    float products[ROWS * TOKENS];
    for (uint64_t row = first, rows; row < first + n; row += rows) {
        rows = first + n - row < ROWS ? first + n - row : ROWS;
        for (uint64_t token = 0, tokens; token < p->n_tokens; token += tokens) {
            tokens = p->n_tokens - token < TOKENS ? p->n_tokens - token : TOKENS;
            ec_gemm(tensor, row, rows, p->x + token * p->columns, tokens, products, EC_ISA_BEST);
            for (uint64_t t = 0; t < tokens; t++) {
                memcpy(y + (token + t) * p->y_stride + row, products + t * rows, (size_t)rows * sizeof *y);
            }
        }
    }
}

void product_rows(const product *p, const ec_tensor *tensor, uint64_t first, uint64_t n, float *y) {
    if (p->is_integer) {
        ec_matmul_i8(tensor, first, n, p->quantised, p->n_tokens, y + first, p->y_stride, EC_ISA_BEST);
    } else {
        multiply_floats(p, tensor, first, n, y);
    }
}

void product_call(void *self) {
    const product *p = self;
    product_rows(p, &p->tensor, 0, p->rows, p->y);
}

static uint64_t times(const product *p) { return p->n_tokens > 1 && p->rows < FILLED ? FILLED / p->rows : 1; }

void product_fill(void *self) {
    const product *p = self;
    for (uint64_t i = 0; i < times(p); i++) product_rows(p, &p->tensor, 0, p->rows, p->y + i * p->rows);
}

uint64_t product_fill_weights(const product *p) { return times(p) * p->tensor.n_weights; }
