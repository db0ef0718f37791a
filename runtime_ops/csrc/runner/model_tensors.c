/* Finds a model's tensors by their names, which are Hugging Face's. */
#include <stdio.h>

#include "runner/model.h"
#include "runner/why.h"

#define HINT "the file is damaged, or of a model that is built otherwise; see edgecomp inspect"
#define MAX_NAME 96

static const char *const linear_names[EC_LINEARS] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj",
};

static uint64_t matrix_bytes(const ec_matrix *m) {
    return m->codes_bytes + m->extended_bytes + m->scales_bytes + m->params_bytes;
}

static uint64_t tensor_bytes(const ec_tensor *t) {
    return matrix_bytes(&t->rest) + (t->n_critical != 0 ? matrix_bytes(&t->critical) : 0) + t->permutation_bytes;
}

/* A tensor of `rows` rows, and of `columns` columns unless that is 0: 1 if it is there, 0 with a message if it
 * has another shape, -1 if it is not there. */
static int find(ec_model *model, const char *name, uint64_t rows, uint64_t columns, ec_tensor *tensor, ec_message *why) {
    uint32_t i;
    if (ec_container_find(&model->container, name, strlen(name), &i) != EC_OK) return -1;
    if (ec_container_tensor(&model->container, i, tensor) != EC_OK) return -1;
    uint32_t n_dims = columns != 0 ? 2 : 1;
    if (tensor->n_dims != n_dims || tensor->shape[0] != rows || (columns != 0 && tensor->shape[1] != columns)) {
        ec_why(why, HINT, "tensor %s: %u sides of %llu and %llu, expected %u of %llu and %llu", name, tensor->n_dims,
               (unsigned long long)tensor->shape[0], (unsigned long long)(tensor->n_dims > 1 ? tensor->shape[1] : 0),
               n_dims, (unsigned long long)rows, (unsigned long long)columns);
        return 0;
    }
    model->n_weights += tensor->n_weights;
    return 1;
}

static int missing(const char *name, ec_message *why) {
    ec_why(why, HINT, "tensor %s: missing", name);
    return 0;
}

/* Decodes a vector to memory of the model's own; `optional` ones may be missing, which leaves NULL. */
static int find_vector(ec_model *model, const char *name, uint32_t n, int optional, const float **vector,
                       ec_message *why) {
    ec_tensor tensor;
    int found = find(model, name, n, 0, &tensor, why);
    if (found < 0 && optional) return 1;
    if (found <= 0) return found < 0 ? missing(name, why) : 0;
    float *weights = ec_memory_take(&model->memory, (uint64_t)n * sizeof *weights);
    if (weights == NULL || ec_decode(&tensor, 0, n, weights, model->isa) != EC_OK) {
        ec_why(why, "", "tensor %s: no memory for %u weights", name, n);
        return 0;
    }
    model->token_bytes += (uint64_t)n * sizeof *weights;
    *vector = weights;
    return 1;
}

static int find_linear(ec_model *model, const char *stem, uint32_t rows, uint32_t columns, ec_linear *linear,
                       ec_message *why) {
    char name[MAX_NAME];
    snprintf(name, sizeof name, "%s.weight", stem);
    int found = find(model, name, rows, columns, &linear->tensor, why);
    if (found <= 0) return found < 0 ? missing(name, why) : 0;
    linear->rows = rows;
    linear->columns = columns;
    linear->is_integer = ec_tensor_is_integer(&linear->tensor);
    model->token_bytes += tensor_bytes(&linear->tensor);
    snprintf(name, sizeof name, "%s.bias", stem);
    return find_vector(model, name, rows, 1, &linear->bias, why);
}

static int find_layer(ec_model *model, uint32_t i, ec_layer *layer, ec_message *why) {
    const ec_hyper *h = &model->hyper;
    uint32_t d_q = h->n_heads * h->d_head, d_kv = h->n_kv_heads * h->d_head;
    uint32_t sides[EC_LINEARS][2] = {{d_q, h->d_model},  {d_kv, h->d_model}, {d_kv, h->d_model}, {h->d_model, d_q},
                                     {h->d_ff, h->d_model}, {h->d_ff, h->d_model}, {h->d_model, h->d_ff}};
    struct { const char *name; uint32_t n; int optional; const float **vector; } vectors[] = {
        {"input_layernorm", h->d_model, 0, &layer->attention_norm},
        {"post_attention_layernorm", h->d_model, 0, &layer->feed_forward_norm},
        {"self_attn.q_norm", h->d_head, 1, &layer->q_norm},
        {"self_attn.k_norm", h->d_head, 1, &layer->k_norm},
    };
    char name[MAX_NAME];
    for (size_t k = 0; k < sizeof vectors / sizeof *vectors; k++) {
        snprintf(name, sizeof name, "model.layers.%u.%s.weight", i, vectors[k].name);
        if (!find_vector(model, name, vectors[k].n, vectors[k].optional, vectors[k].vector, why)) return 0;
    }
    for (int k = 0; k < EC_LINEARS; k++) {
        snprintf(name, sizeof name, "model.layers.%u.%s", i, linear_names[k]);
        if (!find_linear(model, name, sides[k][0], sides[k][1], &layer->linears[k], why)) return 0;
    }
    return 1;
}

/* The embedding has a row for each token of the vocabulary, whose size it may be the first to tell. */
static int find_embedding(ec_model *model, ec_message *why) {
    static const char name[] = "model.embed_tokens.weight";
    ec_hyper *h = &model->hyper;
    uint32_t i;
    if (ec_container_find(&model->container, name, sizeof name - 1, &i) != EC_OK) return missing(name, why);
    if (ec_container_tensor(&model->container, i, &model->embedding) != EC_OK) return missing(name, why);
    if (h->n_vocab == 0 && model->embedding.n_dims == 2 && model->embedding.shape[0] <= EC_MAX_VOCAB) {
        h->n_vocab = (uint32_t)model->embedding.shape[0];
    }
    return find(model, name, h->n_vocab, h->d_model, &model->embedding, why) == 1;
}

/* Its own head, or the embedding, which then is read whole for every token. */
static int find_head(ec_model *model, ec_message *why) {
    const ec_hyper *h = &model->hyper;
    uint32_t i;
    static const char own[] = "lm_head.weight";
    if (ec_container_find(&model->container, own, sizeof own - 1, &i) == EC_OK) {
        model->token_bytes += tensor_bytes(&model->embedding) / h->n_vocab;
        return find_linear(model, "lm_head", h->n_vocab, h->d_model, &model->head, why);
    }
    model->head.tensor = model->embedding;
    model->head.rows = h->n_vocab;
    model->head.columns = h->d_model;
    model->head.is_integer = ec_tensor_is_integer(&model->embedding);
    model->token_bytes += tensor_bytes(&model->embedding);
    return 1;
}

int ec_model_find_tensors(ec_model *model, ec_message *why) {
    const ec_hyper *h = &model->hyper;
    if (!find_embedding(model, why)) return 0;
    model->layers = ec_memory_take(&model->memory, (uint64_t)h->n_layers * sizeof *model->layers);
    if (model->layers == NULL) {
        ec_why(why, "", "no memory for %u layers", h->n_layers);
        return 0;
    }
    for (uint32_t i = 0; i < h->n_layers; i++) {
        if (!find_layer(model, i, &model->layers[i], why)) return 0;
    }
    return find_vector(model, "model.norm.weight", h->d_model, 0, &model->norm, why) && find_head(model, why);
}
