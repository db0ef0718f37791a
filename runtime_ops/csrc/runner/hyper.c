/* Hyper-parameters: every number is checked here, so that no size behind can overflow. */
#include "runner/hyper.h"

#include <math.h>
#include <string.h>

#include "container/container_keys.h"
#include "runner/kv_cache.h"
#include "runner/model_keys.h"
#include "runner/why.h"

#define MAX_LAYERS 1024
#define MAX_WIDTH (UINT32_C(1) << 17)  /* numbers of a token between two matrices */
#define MAX_MADE (UINT32_C(1) << 28)   /* some models name contexts that nobody holds */
#define NO_DEFAULT ((double)NAN)

static int check_architecture(ec_key_reader *reader) {
    static const char *const known[] = {"llama", "mistral", "qwen2", "qwen3"};
    ec_slice name = ec_key_text(reader, "architecture");
    if (reader->failed) return 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (ec_slice_is(name, known[i])) return 1;
    }
    ec_why(reader->why, "models that can be run are llama, mistral, qwen2 and qwen3",
           "architecture is \"%s\", which cannot be run", ec_show(name).text);
    return 0;
}

static int check_activation(ec_key_reader *reader) {
    ec_slice name = ec_key_text(reader, "feed_forward.activation");
    if (reader->failed) return 0;
    if (name.size == 0 || ec_slice_is(name, "silu")) return 1;
    ec_why(reader->why, "models that can be run use silu", "activation is \"%s\", expected silu", ec_show(name).text);
    return 0;
}

static double number(ec_key_reader *reader, const char *name, double least, double most, double otherwise) {
    ec_key_range range = {least, most, otherwise};
    return ec_key_number(reader, name, range);
}

static int read_rope(ec_key_reader *r, ec_hyper *h) {
    ec_rope_settings *rope = &h->rope;
    memset(rope, 0, sizeof *rope);
    rope->interleaved = ec_key_truth(r, "rope.interleaved");
    rope->base = number(r, "rope.freq_base", 1.0001, 1e15, 10000);
    ec_slice kind = ec_key_text(r, "rope.scaling.type");
    if (r->failed || kind.size == 0 || ec_slice_is(kind, "none") || ec_slice_is(kind, "default")) return !r->failed;
    rope->scaling = ec_slice_is(kind, "linear")   ? EC_ROPE_LINEAR
                    : ec_slice_is(kind, "llama3") ? EC_ROPE_LLAMA3
                    : ec_slice_is(kind, "yarn")   ? EC_ROPE_YARN
                                                  : EC_ROPE_PLAIN;
    if (rope->scaling == EC_ROPE_PLAIN) {
        ec_why(r->why, "scalings that can be run are linear, llama3 and yarn",
               "scaling of positions is \"%s\", which cannot be run", ec_show(kind).text);
        return 0;
    }
    rope->factor = number(r, "rope.scaling.factor", 1e-3, 1e6, NO_DEFAULT);
    rope->original_context = number(r, "rope.scaling.original_context_length", 1, MAX_MADE, h->n_context_made);
    if (rope->scaling == EC_ROPE_LLAMA3) {
        rope->low_factor = number(r, "rope.scaling.low_freq_factor", 1e-3, 1e6, NO_DEFAULT);
        rope->high_factor = number(r, "rope.scaling.high_freq_factor", 1e-3, 1e6, NO_DEFAULT);
    }
    if (rope->scaling == EC_ROPE_YARN) {
        rope->beta_fast = number(r, "rope.scaling.beta_fast", 1e-3, 1e6, 32);
        rope->beta_slow = number(r, "rope.scaling.beta_slow", 1e-3, 1e6, 1);
        rope->attention_factor = number(r, "rope.scaling.attention_factor", 0, 1e6, 0);
    }
    if (r->failed || rope->scaling != EC_ROPE_LLAMA3 || rope->low_factor < rope->high_factor) return !r->failed;
    ec_why(r->why, "the file was changed, or its config.json was wrong",
           "low_freq_factor is %.9g, expected less than high_freq_factor, which is %.9g", rope->low_factor,
           rope->high_factor);
    return 0;
}

static int check_heads(const ec_hyper *h, uint32_t rotated, ec_message *why) {
    const char *hint = "the file was changed, or made from a model that is no Llama";
    if (h->n_heads % h->n_kv_heads != 0) {
        ec_why(why, hint, "%u heads for queries, expected a multiple of the %u for keys", h->n_heads, h->n_kv_heads);
    } else if (h->d_head % 2 != 0) {
        ec_why(why, hint, "heads of %u numbers, expected an even number", h->d_head);
    } else if ((uint64_t)h->n_heads * h->d_head > MAX_WIDTH) {
        ec_why(why, hint, "%u heads of %u numbers, expected at most %u in all", h->n_heads, h->d_head, MAX_WIDTH);
    } else if (rotated != h->d_head) {
        ec_why(why, "models that rotate a part of each head cannot be run",
               "positions rotate %u numbers of heads of %u, expected all", rotated, h->d_head);
    } else {
        return 1;
    }
    return 0;
}

int ec_hyper_read(const ec_container *container, ec_hyper *h, ec_message *why) {
    ec_key_reader r = {container, why, 0};
    memset(h, 0, sizeof *h);
    if (!check_architecture(&r) || !check_activation(&r)) return 0;
    h->n_layers = ec_key_integer(&r, "block_count", MAX_LAYERS, 0);
    h->d_model = ec_key_integer(&r, "embedding_length", MAX_WIDTH, 0);
    h->d_ff = ec_key_integer(&r, "feed_forward_length", MAX_WIDTH, 0);
    h->n_heads = ec_key_integer(&r, "attention.head_count", MAX_WIDTH, 0);
    h->n_kv_heads = ec_key_integer(&r, "attention.head_count_kv", MAX_WIDTH, h->n_heads);
    uint32_t even = h->d_model % h->n_heads == 0 ? h->d_model / h->n_heads : 0;
    h->d_head = ec_key_integer(&r, "attention.key_length", EC_MAX_HEAD, even <= EC_MAX_HEAD ? even : 0);
    h->n_context_made = ec_key_integer(&r, "context_length", MAX_MADE, 0);
    h->window = ec_key_integer(&r, "attention.sliding_window", MAX_MADE, MAX_MADE);
    h->epsilon = (float)number(&r, "attention.layer_norm_rms_epsilon", 0, 1, NO_DEFAULT);
    uint32_t rotated = ec_key_integer(&r, "rope.dimension_count", EC_MAX_HEAD, h->d_head);
    h->n_vocab = ec_key_integer(&r, "vocab_size", EC_MAX_VOCAB, EC_MAX_VOCAB);
    if (h->n_vocab == EC_MAX_VOCAB) h->n_vocab = 0;
    if (!read_rope(&r, h) || r.failed) return 0;
    return check_heads(h, rotated, why);
}
