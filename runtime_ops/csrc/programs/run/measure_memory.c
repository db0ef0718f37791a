/* Products of matrices that come from memory, as a model's do: copies one after another, shared among threads. */
#include <inttypes.h>

#include "programs/run/measure_copies.h"
#include "programs/run/measure_product.h"
#include "programs/run/measure_session.h"
#include "programs/run/report.h"

#define CALL_WEIGHTS (UINT64_C(1) << 24) /* of a call: a large matrix of a model; less where that takes too long */
#define PART_WEIGHTS (UINT64_C(1) << 17) /* of a part at least, and */
#define PARTS_PER_THREAD 8               /* at most, as in runner/linear.c */
#define MEMORY_SHARE 1.5
#define LEAST_SET (UINT64_C(1) << 23)    /* bytes, however little time there is to fill them */
#define LEAST_CALLS 6                    /* in the time of a measurement */
#define TALL_BYTES (LEAST_SET / 2)       /* of a matrix, at most */

typedef struct from_memory {
    product p;
    copies all;
    ec_pool *pool;
    uint64_t next, per_call; /* the copy that comes next; copies of a call */
    uint64_t step, steps;    /* rows that are multiplied together; how often a copy has so many */
    float *y;                /* [parts][rows]: no two threads write to the same place */
} from_memory;

static void multiply_part(void *shared, uint32_t part, uint32_t n_parts) {
    const from_memory *m = shared;
    uint64_t n = m->steps * m->per_call, at = n * part / n_parts, end = n * (part + 1) / n_parts;
    while (at < end) {
        uint64_t first = at % m->steps, left = m->steps - first, count = end - at < left ? end - at : left;
        uint64_t row = first * m->step, last = row + count * m->step;
        ec_tensor own = copies_at(&m->all, m->next + at / m->steps);
        if (last > m->p.rows) last = m->p.rows;
        product_rows(&m->p, &own, row, last - row, m->y + part * m->p.rows);
        at += count;
    }
}

static uint32_t parts_of(const from_memory *m) {
    uint32_t threads = ec_pool_threads(m->pool), most = threads * PARTS_PER_THREAD;
    uint64_t n = m->per_call * m->p.tensor.n_weights / PART_WEIGHTS, steps = m->steps * m->per_call;
    if (threads == 1) return 1;
    n = n > most ? most : n < threads ? threads : n;
    return (uint32_t)(n < steps ? n : steps);
}

/* The next copies; those at the end that are too few for a call are left out. */
static void memory_call(void *self) {
    from_memory *m = self;
    if (m->next + m->per_call > m->all.n) m->next = 0;
    ec_pool_run(m->pool, parts_of(m), multiply_part, m);
    m->next += m->per_call;
}

static double memory_shares(const session *s) {
    ec_tensor tensor;
    ec_slice name;
    double n = 0;
    if (s->memory == NULL) return 0;
    for (uint32_t i = 0; next_matrix(s, &i, &tensor, &name);) n += s->n_threads > 1 ? 2 : 1;
    return MEMORY_SHARE * n;
}

static int print_figures(const session *s, const from_memory *m, const ec_slice *name, figures each) {
    fputs("{\"kind\": \"kernel\", \"name\": ", stdout);
    print_json_string(stdout, (const char *)name->data, (size_t)name->size);
    printf(", \"core\": %u, \"threads\": %" PRIu32 ", \"tokens\": 1, \"where\": \"memory\", \"bytes\": %" PRIu64
           ", \"ns_per_weight\": %.6g", (unsigned)s->here.cores.id[0], ec_pool_threads(m->pool),
           m->all.stride * m->all.n, each.value);
    return end_line(each) ? EXIT_OK : fail_stdout();
}

static int measure_threads(session *s, from_memory *m, const ec_slice *name, uint32_t n_threads, uint64_t slice_ns) {
    ec_message why;
    figures ns;
    m->pool = ec_pool_new(n_threads, 1, &why);
    if (m->pool == NULL) return fail_message(&why);
    const work multiplies = {memory_call, m, m->per_call * m->p.tensor.n_weights};
    int status = measure_rounds(&multiplies, slice_ns, &ns);
    if (status == EXIT_OK) status = print_figures(s, m, name, figures_each(ns, multiplies.n));
    ec_pool_free(m->pool);
    return status;
}

/* Copies of as much as can be filled in a third of the time. */
static void fill(session *s, from_memory *m, const ec_tensor *tensor, uint64_t slice_ns) {
    uint64_t bytes = (uint64_t)(s->fill_rate * (double)slice_ns / 3);
    if (bytes < LEAST_SET) bytes = LEAST_SET;
    copies_begin(&m->all, tensor, s->memory, bytes < s->memory_bytes ? bytes : s->memory_bytes);
    m->per_call = 1;
    m->step = m->p.is_integer ? ec_matmul_step(tensor, 1) : 16;
    m->steps = (m->p.rows + m->step - 1) / m->step;
}

/* A matrix of as many weights as a call, if that is not too large. */
static ec_tensor tall_matrix(const ec_tensor *tensor, ec_memory *memory) {
    uint64_t times = CALL_WEIGHTS / tensor->n_weights, most = TALL_BYTES / tensor_bytes(tensor);
    return taller(tensor, times < most ? times : most, memory);
}

/* Copies that a call takes, so that it lasts no longer than that on one core. */
static uint64_t copies_of_call(const from_memory *m, const ec_tensor *tensor, uint64_t most_ns) {
    uint64_t n = (CALL_WEIGHTS + tensor->n_weights - 1) / tensor->n_weights, start = now_ns();
    ec_tensor first = copies_at(&m->all, 0);
    product_rows(&m->p, &first, 0, m->p.rows, m->y);
    uint64_t most = most_ns / (now_ns() - start + 1) + 1;
    if (n > most) n = most;
    return n < m->all.n ? n : m->all.n;
}

static int measure_matrix(session *s, const ec_tensor *tensor, const ec_slice *name, ec_memory *memory) {
    from_memory m = {.next = 0};
    double settings = s->n_threads > 1 ? 2 : 1;
    uint64_t slice_ns = budget_take(&s->left, MEMORY_SHARE * settings);
    uint64_t parts = (uint64_t)s->threads[s->n_threads - 1] * PARTS_PER_THREAD;
    int ready = product_begin(&m.p, tensor, 1, memory);
    m.y = ec_memory_take(memory, parts * m.p.rows * sizeof *m.y);
    if (!ready || m.y == NULL) return fail(EXIT_FAILED, "", "no memory for products");
    fill(s, &m, tensor, slice_ns);
    if (m.all.n == 0) {
        return fail(EXIT_FAILED, "measure smaller matrices", "%" PRIu64 " bytes of a matrix do not fit into %" PRIu64
                    " of memory", tensor_bytes(tensor), s->memory_bytes);
    }
    uint64_t each_ns = (uint64_t)((double)slice_ns / settings * 2 / 3);
    m.per_call = copies_of_call(&m, tensor, each_ns / LEAST_CALLS);
    int status = measure_threads(s, &m, name, s->threads[0], each_ns);
    if (status != EXIT_OK || s->n_threads == 1) return status;
    return measure_threads(s, &m, name, s->threads[s->n_threads - 1], each_ns);
}

static int memory_run(session *s) {
    ec_tensor tensor;
    ec_slice name;
    int status = EXIT_OK;
    if (s->memory == NULL) return EXIT_OK;
    for (uint32_t i = 0; status == EXIT_OK && next_matrix(s, &i, &tensor, &name);) {
        ec_memory memory = {0};
        status = session_watch(s, 0);
        session_on_all_cores(s);
        if (status == EXIT_OK) {
            ec_tensor tall = tall_matrix(&tensor, &memory);
            status = measure_matrix(s, &tall, &name, &memory);
        }
        ec_memory_free(&memory);
    }
    return status;
}

const stage memory_stage = {memory_shares, memory_run};
