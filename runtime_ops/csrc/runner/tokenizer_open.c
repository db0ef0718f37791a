/* Opens a tokenizer: reads the keys tokenizer.ggml.* of a container, none of which is trusted, into tables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "container/container_keys.h"
#include "kernels/kernels.h"
#include "runner/model_keys.h"
#include "runner/tokenizer.h"
#include "runner/utf8.h"
#include "runner/why.h"

#define PREFIX "tokenizer.ggml."
#define COMPRESS_AGAIN "compress the model again, from a folder with its tokenizer.json"

/* What is read, and where it goes. */
typedef struct opening {
    const ec_container *container;
    ec_tokenizer *t;
    ec_message *why;
} opening;

static int fail(const opening *o, const char *name, const char *what) {
    ec_why(o->why, COMPRESS_AGAIN, "key " PREFIX "%s: %s", name, what);
    return 0;
}

static int no_memory(const opening *o) {
    ec_why(o->why, "close other programs", "no memory for the tokenizer");
    return 0;
}

static int find(const opening *o, const char *name, ec_gguf_value *value) {
    return ec_key_find(o->container, PREFIX, name, value);
}

/* Element i of an array of numbers, 0 for what is none. */
static double element(const ec_gguf_value *array, uint64_t i) {
    uint64_t size = array->count != 0 ? array->bytes.size / array->count : 0;
    ec_gguf_value one = {array->kind & 0xFF, 1, {array->bytes.data + i * size, size}};
    double number = 0;
    return ec_key_number_of(&one, &number) ? number : 0;
}

/* An array of n numbers; 1 when the key is missing as well, with no elements. */
static int find_numbers(const opening *o, const char *name, uint64_t n, ec_gguf_value *array) {
    double number;
    array->count = 0;
    if (!find(o, name, array)) return 1;
    ec_gguf_value first = {array->kind & 0xFF, 1, array->bytes};
    int numbers = array->kind != (array->kind & 0xFF) && array->count != 0;
    if (numbers) {
        first.bytes.size = array->bytes.size / array->count;
        numbers = ec_key_number_of(&first, &number);
    }
    if (!numbers || array->count != n) return fail(o, name, "expected an array of numbers, one for each token");
    return 1;
}

/* Whether a key is there and true; `otherwise` when it is missing. */
static int find_truth(const opening *o, const char *name, int otherwise, int *truth) {
    ec_gguf_value value;
    *truth = otherwise;
    if (!find(o, name, &value)) return 1;
    if (value.kind != EC_GGUF_BOOL) return fail(o, name, "expected true or false");
    *truth = value.bytes.data[0] != 0;
    return 1;
}

/* The id of a special token: EC_NO_TOKEN when the key is missing. */
static int find_id(const opening *o, const char *name, uint32_t *id) {
    ec_gguf_value value;
    double number;
    *id = EC_NO_TOKEN;
    if (!find(o, name, &value)) return 1;
    if (!ec_key_number_of(&value, &number) || !(number >= 0 && number < o->t->n)) {
        return fail(o, name, "expected the number of a token");
    }
    *id = (uint32_t)number;
    return 1;
}

static int read_tokens(const opening *o) {
    ec_gguf_value tokens, types;
    ec_tokenizer *t = o->t;
    if (!find(o, "tokens", &tokens) || tokens.kind != EC_GGUF_ARRAY_OF(EC_GGUF_STRING) || tokens.count == 0) {
        return fail(o, "tokens", "expected an array of texts");
    }
    t->n = (uint32_t)tokens.count;
    t->strings = tokens.bytes;
    if (!find_numbers(o, "token_type", t->n, &types)) return 0;
    t->starts = malloc(t->n * sizeof *t->starts);
    t->types = malloc(t->n);
    if (t->starts == NULL || t->types == NULL || !ec_id_table_make(&t->ids, t->n)) return no_memory(o);
    ec_cursor cursor = {tokens.bytes, 0};
    for (uint32_t i = 0; i < t->n; i++) {
        ec_slice text;
        t->starts[i] = (uint32_t)cursor.at;
        if (ec_gguf_next_string(&cursor, EC_GGUF_MAX_STRING_BYTES, &text) != EC_OK) {
            return fail(o, "tokens", "ends early");
        }
        if (text.size > EC_MOST_TOKEN_BYTES) return fail(o, "tokens", "one has more than 1024 bytes");
        if (text.size > t->longest) t->longest = text.size;
        double type = types.count != 0 ? element(&types, i) : EC_TOKEN_NORMAL;
        if (!(type >= EC_TOKEN_NORMAL && type <= EC_TOKEN_BYTE)) {
            return fail(o, "token_type", "expected numbers of 1 to 6");
        }
        t->types[i] = (uint8_t)type;
    }
    return ec_tokens_add(t) ? 1 : fail(o, "tokens", "too many that look alike");
}

static int read_scores(const opening *o) {
    ec_gguf_value scores;
    ec_tokenizer *t = o->t;
    if (!find_numbers(o, "scores", t->n, &scores)) return 0;
    if (scores.count == 0) return fail(o, "scores", "missing");
    t->scores = malloc(t->n * sizeof *t->scores);
    if (t->scores == NULL) return no_memory(o);
    for (uint32_t i = 0; i < t->n; i++) {
        double score = element(&scores, i);
        if (!(score >= -1e30 && score <= 1e30)) return fail(o, "scores", "expected numbers of at most 1e30");
        t->scores[i] = (float)score;
    }
    return 1;
}

/* "left right", cut at the first space that has something before it. */
static int read_merge(const ec_tokenizer *t, ec_slice text, ec_merge *merge) {
    const ec_slice none = {NULL, 0};
    const uint8_t *space = text.size > 2 ? memchr(text.data + 1, ' ', (size_t)text.size - 2) : NULL;
    if (space == NULL) return 0;
    ec_slice left = {text.data, (uint64_t)(space - text.data)};
    ec_slice right = {space + 1, text.size - left.size - 1};
    merge->left = ec_token_find(t, left, none);
    merge->right = ec_token_find(t, right, none);
    merge->merged = ec_token_find(t, left, right);
    return merge->left != EC_NO_TOKEN && merge->right != EC_NO_TOKEN && merge->merged != EC_NO_TOKEN;
}

static int read_merges(const opening *o) {
    ec_gguf_value merges = {0, 0, {NULL, 0}};
    ec_tokenizer *t = o->t;
    uint64_t n = 0;
    if (find(o, "merges", &merges)) {
        if (merges.kind != EC_GGUF_ARRAY_OF(EC_GGUF_STRING)) return fail(o, "merges", "expected an array of texts");
        n = merges.count;
    }
    t->merges = malloc((n + 1) * sizeof *t->merges);
    if (t->merges == NULL || !ec_id_table_make(&t->ranks, (uint32_t)n)) return no_memory(o);
    ec_cursor cursor = {merges.bytes, 0};
    for (t->n_merges = 0; t->n_merges < n; t->n_merges++) {
        ec_slice text;
        char what[96];
        if (ec_gguf_next_string(&cursor, EC_GGUF_MAX_STRING_BYTES, &text) == EC_OK &&
            read_merge(t, text, t->merges + t->n_merges)) {
            continue;
        }
        snprintf(what, sizeof what, "number %u, %s, is not two tokens that make a third", (unsigned)t->n_merges,
                 ec_show(text).text);
        return fail(o, "merges", what);
    }
    return ec_merges_add(t) ? 1 : fail(o, "merges", "too many that look alike");
}

static int read_split(const opening *o) {
    static const struct { const char *name; ec_split split; } known[] = {
        {"gpt-2", EC_SPLIT_GPT2}, {"smollm", EC_SPLIT_SMOLLM}, {"llama-bpe", EC_SPLIT_LLAMA3}, {"qwen2", EC_SPLIT_QWEN2}};
    ec_gguf_value value;
    if (!find(o, "pre", &value) || value.kind != EC_GGUF_STRING) return fail(o, "pre", "expected a text");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!ec_slice_is(value.bytes, known[i].name)) continue;
        o->t->split = known[i].split;
        o->t->whole_words = known[i].split == EC_SPLIT_LLAMA3;
        return 1;
    }
    char what[96];
    snprintf(what, sizeof what, "%s, expected gpt-2, smollm, llama-bpe or qwen2", ec_show(value.bytes).text);
    return fail(o, "pre", what);
}

/* Which token stands for each byte. */
static void find_bytes(ec_tokenizer *t) {
    const ec_slice none = {NULL, 0};
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint8_t text[8];
        ec_slice spelled = {text, 0};
        if (t->is_bytes) {
            spelled.size = ec_utf8_put(ec_byte_character((uint8_t)byte), text);
        } else {
            static const char digits[] = "0123456789ABCDEF";
            memcpy(text, "<0x00>", 6);
            text[3] = (uint8_t)digits[byte >> 4];
            text[4] = (uint8_t)digits[byte & 15];
            spelled.size = 6;
        }
        t->bytes[byte] = ec_token_find(t, spelled, none);
    }
}

static int compare_texts(const ec_tokenizer *t, uint32_t a, uint32_t b) {
    int order = ec_slice_compare(ec_token_text(t, a), ec_token_text(t, b));
    return order != 0 ? order : (a > b) - (a < b);
}

/* Sorts by sifting: qsort has no place for the tokenizer, and tokenizers may be opened by several threads. */
static void sift(const ec_tokenizer *t, uint32_t *ids, uint32_t i, uint32_t n) {
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= n) return;
        if (child + 1 < n && compare_texts(t, ids[child + 1], ids[child]) > 0) child++;
        if (compare_texts(t, ids[child], ids[i]) <= 0) return;
        uint32_t other = ids[i];
        ids[i] = ids[child];
        ids[child] = other;
        i = child;
    }
}

static int list_specials(const opening *o) {
    ec_tokenizer *t = o->t;
    t->specials = malloc(t->n * sizeof *t->specials);
    if (t->specials == NULL) return no_memory(o);
    for (uint32_t i = 0; i < t->n; i++) {
        uint8_t type = t->types[i];
        if (type != EC_TOKEN_CONTROL && type != EC_TOKEN_USER_DEFINED && type != EC_TOKEN_UNKNOWN) continue;
        ec_slice text = ec_token_text(t, i);
        if (text.size == 0) continue;
        t->specials[t->n_specials++] = i;
        t->special_starts[text.data[0] >> 3] |= (uint8_t)(1u << (text.data[0] & 7));
    }
    for (uint32_t i = t->n_specials / 2; i-- > 0;) sift(t, t->specials, i, t->n_specials);
    for (uint32_t n = t->n_specials; n > 1; n--) {
        uint32_t last = t->specials[n - 1];
        t->specials[n - 1] = t->specials[0];
        t->specials[0] = last;
        sift(t, t->specials, 0, n - 1);
    }
    uint32_t *less = realloc(t->specials, (t->n_specials + 1) * sizeof *less);
    if (less != NULL) t->specials = less;
    return 1;
}

static int read_all(const opening *o) {
    ec_tokenizer *t = o->t;
    ec_gguf_value model;
    if (!find(o, "model", &model)) {
        ec_why(o->why, COMPRESS_AGAIN, "the container has no tokenizer");
        return 0;
    }
    t->is_bytes = model.kind == EC_GGUF_STRING && ec_slice_is(model.bytes, "gpt2");
    if (!t->is_bytes && !(model.kind == EC_GGUF_STRING && ec_slice_is(model.bytes, "llama"))) {
        return fail(o, "model", "expected gpt2 or llama");
    }
    if (!read_tokens(o) || !list_specials(o)) return 0;
    if (!(t->is_bytes ? read_split(o) && read_merges(o) : read_scores(o))) return 0;
    if (!find_truth(o, "add_bos_token", !t->is_bytes, &t->begins)) return 0;
    if (!find_truth(o, "add_space_prefix", 1, &t->space_prefix)) return 0;
    if (!find_id(o, "bos_token_id", &t->bos) || !find_id(o, "eos_token_id", &t->eos)) return 0;
    if (!find_id(o, "unknown_token_id", &t->unknown)) return 0;
    for (uint32_t i = 0; t->unknown == EC_NO_TOKEN && i < t->n; i++) {
        if (t->types[i] == EC_TOKEN_UNKNOWN) t->unknown = i;
    }
    find_bytes(t);
    return 1;
}

ec_tokenizer *ec_tokenizer_open(const void *data, size_t size, ec_message *why) {
    ec_container container;
    ec_status status = ec_container_open(data, size, &container);
    if (status != EC_OK) {
        ec_why(why, "edgecomp inspect FILE says more", "%s", ec_status_text(status));
        return NULL;
    }
    ec_tokenizer *t = calloc(1, sizeof *t);
    opening o = {&container, t, why};
    if (t != NULL && read_all(&o)) return t;
    if (t == NULL) no_memory(&o);
    ec_tokenizer_free(t);
    return NULL;
}

void ec_tokenizer_free(ec_tokenizer *t) {
    if (t == NULL) return;
    free(t->starts);
    free(t->types);
    free(t->scores);
    free(t->ids.slots);
    free(t->merges);
    free(t->ranks.slots);
    free(t->specials);
    free(t);
}
