/* What one core of each kind takes when everything is in its caches: products, steps, attention. */
#include <inttypes.h>
#include <string.h>

#include "programs/run/measure_attention.h"
#include "programs/run/measure_copies.h"
#include "programs/run/measure_product.h"
#include "programs/run/measure_session.h"
#include "programs/run/measure_steps.h"
#include "programs/run/report.h"

#define PRODUCT_SHARE 1.0
#define STEP_SHARE 0.5

static const uint32_t token_counts[] = {1, 16, 128};
#define N_TOKEN_COUNTS (sizeof token_counts / sizeof token_counts[0])

static double cached_shares(const session *s) {
    ec_tensor tensor;
    ec_slice name;
    double n = 0;
    for (uint32_t i = 0; next_matrix(s, &i, &tensor, &name);) n += N_TOKEN_COUNTS;
    return PRODUCT_SHARE * n * s->here.n_clusters;
}

static int measure_product(session *s, uint32_t place, const ec_tensor *tensor, const ec_slice *name,
                           uint32_t n_tokens) {
    ec_memory memory = {0};
    product p;
    figures ns = {0, 0, 0};
    int ready = product_begin(&p, tensor, n_tokens, &memory);
    const work multiplies = {product_fill, &p, ready ? product_fill_weights(&p) : 0};
    int status = ready ? measure_rounds(&multiplies, budget_take(&s->left, PRODUCT_SHARE), &ns)
                       : fail(EXIT_FAILED, "", "no memory for products with %" PRIu32 " tokens", n_tokens);
    ec_memory_free(&memory);
    if (status != EXIT_OK) return status;
    figures each = figures_each(ns, multiplies.n);
    fputs("{\"kind\": \"kernel\", \"name\": ", stdout);
    print_json_string(stdout, (const char *)name->data, (size_t)name->size);
    printf(", \"core\": %u, \"threads\": 1, \"tokens\": %" PRIu32 ", \"where\": \"cache\", \"bytes\": %" PRIu64
           ", \"ns_per_weight\": %.6g", (unsigned)s->here.cores.id[place], n_tokens, tensor_bytes(tensor), each.value);
    return end_line(each) ? EXIT_OK : fail_stdout();
}

static int measure_products(session *s, uint32_t place) {
    ec_tensor tensor;
    ec_slice name;
    int status = EXIT_OK;
    for (uint32_t i = 0; status == EXIT_OK && next_matrix(s, &i, &tensor, &name);) {
        status = session_watch(s, place);
        for (size_t k = 0; status == EXIT_OK && k < N_TOKEN_COUNTS; k++) {
            status = measure_product(s, place, &tensor, &name, token_counts[k]);
        }
    }
    return status;
}

static double step_shares(const session *s) {
    double n = 0;
    for (size_t i = 0; i < n_measured_steps; i++) {
        const step *own = &measured_steps[i];
        n += s->only == NULL ? !own->in_attention : is_asked(s, own->name, strlen(own->name));
    }
    return STEP_SHARE * n * s->here.n_clusters;
}

static int measure_step(session *s, uint32_t place, const step *own, step_data *data) {
    const work steps = {own->call, data, own->n};
    figures ns;
    int status = measure_rounds(&steps, budget_take(&s->left, STEP_SHARE), &ns);
    if (status != EXIT_OK) return status;
    figures each = figures_each(ns, own->n);
    printf("{\"kind\": \"step\", \"name\": \"%s\", \"core\": %u, \"ns\": %.6g", own->name,
           (unsigned)s->here.cores.id[place], each.value);
    return end_line(each) ? EXIT_OK : fail_stdout();
}

/* Parts of attention are asked for by name alone: attention as a whole is what a profile takes them from. */
static int measure_steps(session *s, uint32_t place) {
    step_data data;
    int status = step_data_begin(&data) ? EXIT_OK : fail(EXIT_FAILED, "", "no memory for the steps of a model");
    for (size_t i = 0; status == EXIT_OK && i < n_measured_steps; i++) {
        const step *own = &measured_steps[i];
        int asked = s->only == NULL ? !own->in_attention : is_asked(s, own->name, strlen(own->name));
        if (asked) status = measure_step(s, place, own, &data);
    }
    step_data_end(&data);
    return status;
}

static size_t asked_attention(const session *s, attention_case asked[]) {
    if (s->only != NULL) return parse_attention(s->only, &asked[0]) ? 1 : 0;
    memcpy(asked, attention_cases, N_ATTENTION_CASES * sizeof *asked);
    return N_ATTENTION_CASES;
}

static double attention_shares(const session *s) {
    attention_case asked[N_ATTENTION_CASES];
    return STEP_SHARE * (double)asked_attention(s, asked) * s->here.n_clusters;
}

static int measure_attention(session *s, uint32_t place, const attention_case *own) {
    attention_data data;
    figures ns;
    if (!attention_begin(&data, own)) return fail(EXIT_FAILED, "", "no memory for attention");
    const work attends = {attention_call, &data, ATTENTION_POSITIONS};
    int status = measure_rounds(&attends, budget_take(&s->left, STEP_SHARE), &ns);
    attention_end(&data);
    if (status != EXIT_OK) return status;
    figures each = figures_each(ns, ATTENTION_POSITIONS);
    printf("{\"kind\": \"attention\", \"core\": %u, \"kv\": \"%s\", \"d_head\": %" PRIu32 ", \"group\": %" PRIu32
           ", \"positions\": %d, \"ns_per_position\": %.6g", (unsigned)s->here.cores.id[place], kv_name(own->kv),
           own->d_head, own->group, ATTENTION_POSITIONS, each.value);
    return end_line(each) ? EXIT_OK : fail_stdout();
}

static int measure_attentions(session *s, uint32_t place) {
    attention_case asked[N_ATTENTION_CASES];
    size_t n = asked_attention(s, asked);
    int status = EXIT_OK;
    for (size_t i = 0; status == EXIT_OK && i < n; i++) status = measure_attention(s, place, &asked[i]);
    return status;
}

/* Does it on the first core of each kind. */
static int on_clusters(session *s, double shares, int (*measure)(session *s, uint32_t place)) {
    int status = EXIT_OK;
    for (uint32_t i = 0; status == EXIT_OK && shares > 0 && i < s->here.n_clusters; i++) {
        ec_cores_pin(&s->here.cores, s->here.clusters[i]);
        status = measure(s, s->here.clusters[i]);
    }
    session_on_all_cores(s);
    return status;
}

static int cached_run(session *s) { return on_clusters(s, cached_shares(s), measure_products); }

static int steps_run(session *s) { return on_clusters(s, step_shares(s), measure_steps); }

static int attention_run(session *s) { return on_clusters(s, attention_shares(s), measure_attentions); }

const stage cached_stage = {cached_shares, cached_run};
const stage steps_stage = {step_shares, steps_run};
const stage attention_stage = {attention_shares, attention_run};
