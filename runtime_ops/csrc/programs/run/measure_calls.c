/* No clock, no rounds. */
#include "programs/run/measure_calls.h"

#include <inttypes.h>

#include "programs/run/commands.h"
#include "programs/run/measure_attention.h"
#include "programs/run/measure_product.h"
#include "programs/run/measure_steps.h"
#include "programs/run/report.h"

static int repeat(const work *repeated, const char *name, uint32_t n_tokens, uint32_t calls) {
    for (uint32_t i = 0; i < calls && !interrupted; i++) repeated->call(repeated->self);
    if (interrupted) return EXIT_INTERRUPTED;
    fputs("{\"kind\": \"calls\", \"name\": ", stdout);
    print_json_string(stdout, name, strlen(name));
    printf(", \"weights\": %" PRIu64 ", \"tokens\": %" PRIu32 ", \"calls\": %" PRIu32 "}\n", repeated->n, n_tokens,
           calls);
    return finish_stdout(EXIT_OK);
}

static int repeat_step(const step *chosen, uint32_t calls) {
    step_data data;
    const work repeated = {chosen->call, &data, chosen->n};
    int status = step_data_begin(&data) ? repeat(&repeated, chosen->name, 1, calls)
                                        : fail(EXIT_FAILED, "", "no memory for the step %s", chosen->name);
    step_data_end(&data);
    return status;
}

static int repeat_attention(const attention_case *chosen, const char *name, uint32_t calls) {
    attention_data data;
    const work repeated = {attention_call, &data, ATTENTION_POSITIONS};
    if (!attention_begin(&data, chosen)) return fail(EXIT_FAILED, "", "no memory for %s", name);
    int status = repeat(&repeated, name, 1, calls);
    attention_end(&data);
    return status;
}

static int repeat_product(const ec_tensor *tensor, const char *name, uint32_t n_tokens, uint32_t calls) {
    ec_memory memory = {0};
    product p;
    const work repeated = {product_call, &p, tensor->n_weights};
    int status = product_begin(&p, tensor, n_tokens, &memory)
                     ? repeat(&repeated, name, n_tokens, calls)
                     : fail(EXIT_FAILED, "", "no memory for products with %" PRIu32 " tokens", n_tokens);
    ec_memory_free(&memory);
    return status;
}

int measure_calls(const ec_container *container, const char *name, uint32_t n_tokens, uint32_t calls) {
    attention_case attention;
    ec_tensor tensor;
    uint32_t i;
    if (find_step(name) != NULL) return repeat_step(find_step(name), calls);
    if (parse_attention(name, &attention)) return repeat_attention(&attention, name, calls);
    ec_status status = ec_container_find(container, name, strlen(name), &i);
    if (status == EC_OK) status = ec_container_tensor(container, i, &tensor);
    if (status != EC_OK) return fail(EXIT_FAILED, "", "%s: %s", name, ec_status_text(status));
    return repeat_product(&tensor, name, n_tokens, calls);
}
