/* Byte pair encoding: the symbols of a word are merged, best pair first, until none can be. */
#include <stdlib.h>
#include <string.h>

#include "runner/tokenizer.h"
#include "runner/utf8.h"

#define NONE UINT32_MAX

int ec_workspace_reserve(ec_workspace *work, size_t n) {
    if (n <= work->room) return 1;
    free(work->symbols);
    free(work->heap);
    work->room = 0;
    /* Each pair of neighbours is a candidate once, and a merge makes two new pairs. */
    work->symbols = n <= SIZE_MAX / sizeof *work->symbols ? malloc(n * sizeof *work->symbols) : NULL;
    work->heap = n <= SIZE_MAX / 3 / sizeof *work->heap ? malloc(3 * n * sizeof *work->heap) : NULL;
    if (work->symbols == NULL || work->heap == NULL) return 0;
    work->room = n;
    return 1;
}

static int comes_before(const ec_candidate *a, const ec_candidate *b) {
    return a->order != b->order ? a->order < b->order : a->left < b->left;
}

static void push(ec_workspace *work, ec_candidate added) {
    size_t i = work->n_heap++;
    while (i > 0 && comes_before(&added, work->heap + (i - 1) / 2)) {
        work->heap[i] = work->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    work->heap[i] = added;
}

static ec_candidate pop(ec_workspace *work) {
    ec_candidate first = work->heap[0], last = work->heap[--work->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= work->n_heap) break;
        if (child + 1 < work->n_heap && comes_before(work->heap + child + 1, work->heap + child)) child++;
        if (!comes_before(work->heap + child, &last)) break;
        work->heap[i] = work->heap[child];
        i = child;
    }
    work->heap[i] = last;
    return first;
}

/* Whole numbers in the order of scores, the highest first. */
static uint32_t order_of(float score) {
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return bits >> 31 ? bits : ~(bits | UINT32_C(0x80000000));
}

/* The token that a text is: control tokens are not made of text, nor others that a text does not have by itself. */
static uint32_t find_normal(const ec_tokenizer *t, ec_slice text) {
    const ec_slice none = {NULL, 0};
    uint32_t token = ec_token_find(t, text, none);
    return token != EC_NO_TOKEN && t->types[token] == EC_TOKEN_NORMAL ? token : EC_NO_TOKEN;
}

/* Makes a candidate of a symbol and the one behind it, if they can be merged. */
static void consider(const ec_tokenizer *t, ec_slice word, ec_workspace *work, uint32_t left) {
    const ec_symbol *a = work->symbols + left;
    if (left == NONE || a->next == NONE) return;
    const ec_symbol *b = work->symbols + a->next;
    ec_candidate found = {0, left, a->n + b->n, EC_NO_TOKEN};
    if (t->is_bytes) {
        uint32_t rank = ec_merge_find(t, a->token, b->token);
        if (rank == EC_NO_TOKEN) return;
        found.order = rank;
        found.merged = t->merges[rank].merged;
    } else {
        if (found.size > t->longest) return;
        const ec_slice text = {word.data + a->start, found.size};
        found.merged = find_normal(t, text);
        if (found.merged == EC_NO_TOKEN) return;
        found.order = order_of(t->scores[found.merged]);
    }
    push(work, found);
}

static void merge_all(const ec_tokenizer *t, ec_slice word, ec_workspace *work) {
    work->n_heap = 0;
    for (uint32_t i = 0; i < work->n_symbols; i++) consider(t, word, work, i);
    while (work->n_heap > 0) {
        ec_candidate best = pop(work);
        ec_symbol *a = work->symbols + best.left;
        if (a->n == 0 || a->next == NONE) continue;
        ec_symbol *b = work->symbols + a->next;
        if (a->n + b->n != best.size) continue; /* one of them has grown since */
        a->n = best.size;
        a->token = best.merged;
        a->next = b->next;
        b->n = 0;
        if (a->next != NONE) work->symbols[a->next].previous = best.left;
        if (a->previous != NONE) consider(t, word, work, a->previous);
        consider(t, word, work, best.left);
    }
}

static void add_symbol(ec_workspace *work, uint32_t start, uint32_t n, uint32_t token) {
    uint32_t i = (uint32_t)work->n_symbols++;
    ec_symbol symbol = {start, n, token, i > 0 ? i - 1 : NONE, NONE};
    if (i > 0) work->symbols[i - 1].next = i;
    work->symbols[i] = symbol;
}

/* A symbol that no token stands for: the tokens of its bytes, or the unknown one, unless that is there for what
 * was before. Whether it is unknown. */
static int put_bytes(const ec_tokenizer *t, const uint8_t *bytes, uint32_t n, int after_unknown, ec_tokens *tokens) {
    int all = 1;
    for (uint32_t i = 0; i < n; i++) all &= t->bytes[bytes[i]] != EC_NO_TOKEN;
    for (uint32_t i = 0; all && i < n; i++) ec_tokens_put(tokens, t->bytes[bytes[i]]);
    if (!all && !after_unknown && t->unknown != EC_NO_TOKEN) ec_tokens_put(tokens, t->unknown);
    return !all;
}

int ec_word_encode(const ec_tokenizer *t, ec_slice word, ec_workspace *work, ec_tokens *tokens) {
    int unknown = 0;
    if (word.size == 0) return 1;
    if (!ec_workspace_reserve(work, (size_t)word.size)) return 0;
    work->n_symbols = 0;
    for (size_t at = 0, n = 1; at < word.size; at += n) {
        uint32_t token, character;
        if (t->is_bytes) {
            token = t->bytes[word.data[at]];
            if (token == EC_NO_TOKEN) continue; /* has no place in this vocabulary */
        } else {
            n = ec_utf8_next(word.data + at, (size_t)word.size - at, &character);
            ec_slice text = {word.data + at, n};
            token = find_normal(t, text);
        }
        add_symbol(work, (uint32_t)at, (uint32_t)n, token);
    }
    if (work->n_symbols == 0) return 1;
    merge_all(t, word, work);
    for (uint32_t i = 0; i != NONE; i = work->symbols[i].next) {
        const ec_symbol *s = work->symbols + i;
        if (s->token != EC_NO_TOKEN) {
            ec_tokens_put(tokens, s->token);
            unknown = 0;
        } else {
            unknown = put_bytes(t, word.data + s->start, s->n, unknown, tokens);
        }
    }
    return 1;
}
