/* Texts as tokens, and tokens as texts. */
#include <stdlib.h>
#include <string.h>

#include "runner/tokenizer.h"
#include "runner/utf8.h"

#define MOST_BYTES ((size_t)1 << 28) /* nine times as many are counted in 32 bits */
#define SPACE "\xE2\x96\x81" /* U+2581, SentencePiece's mark for a space */
#define SPACE_BYTES 3

uint32_t ec_tokenizer_size(const ec_tokenizer *t) { return t->n; }
uint32_t ec_tokenizer_bos(const ec_tokenizer *t) { return t->bos; }
uint32_t ec_tokenizer_eos(const ec_tokenizer *t) { return t->eos; }

int ec_tokenizer_is_end(const ec_tokenizer *t, uint32_t token) {
    static const char *const ends[] = {"<|im_end|>",    "<|eot_id|>",    "<|end|>", "<|end_of_text|>",
                                       "<|endoftext|>", "<end_of_turn>", "</s>"};
    if (token == t->eos) return token != EC_NO_TOKEN;
    if (token >= t->n || t->types[token] != EC_TOKEN_CONTROL) return 0;
    ec_slice text = ec_token_text(t, token);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (text.size == strlen(ends[i]) && memcmp(text.data, ends[i], (size_t)text.size) == 0) return 1;
    }
    return 0;
}

/* GPT-2 shows bytes that are printable in Latin-1 as themselves, the others as characters from 256 on. */
static int is_printable(uint32_t byte) {
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

uint32_t ec_byte_character(uint8_t byte) {
    uint32_t next = 256;
    if (is_printable(byte)) return byte;
    for (uint32_t b = 0; b < byte; b++) next += !is_printable(b);
    return next;
}

int ec_character_byte(uint32_t character) {
    uint32_t next = 256;
    if (character < 256) return is_printable(character) ? (int)character : -1;
    for (uint32_t b = 0; b < 256; b++) {
        if (!is_printable(b) && next++ == character) return (int)b;
    }
    return -1;
}

/* The special token that a text begins with, the longest one; EC_NO_TOKEN when there is none. */
static uint32_t special_at(const ec_tokenizer *t, ec_slice text, int control) {
    uint32_t low = 0, high = t->n_specials, found = EC_NO_TOKEN;
    for (uint64_t depth = 0; depth < text.size; depth++) {
        uint8_t byte = text.data[depth];
        uint32_t from = low, to = high;
        while (from < to) { /* the first with at least this byte */
            uint32_t middle = from + (to - from) / 2;
            ec_slice other = ec_token_text(t, t->specials[middle]);
            if (other.size <= depth || other.data[depth] < byte) from = middle + 1; else to = middle;
        }
        low = from;
        to = high;
        while (from < to) { /* the first with a larger one */
            uint32_t middle = from + (to - from) / 2;
            if (ec_token_text(t, t->specials[middle]).data[depth] <= byte) from = middle + 1; else to = middle;
        }
        high = from;
        if (low == high) break;
        uint32_t token = t->specials[low]; /* the shortest comes first */
        int wanted = control || t->types[token] == EC_TOKEN_USER_DEFINED;
        if (wanted && ec_token_text(t, token).size == depth + 1) found = token;
    }
    return found;
}

/* Where the first special token of a text begins, and which; the end, and none. */
static uint64_t find_special(const ec_tokenizer *t, ec_slice text, int control, uint32_t *token) {
    *token = EC_NO_TOKEN;
    for (uint64_t at = 0; t->n_specials != 0 && at < text.size; at++) {
        uint8_t byte = text.data[at];
        if ((t->special_starts[byte >> 3] >> (byte & 7) & 1) == 0) continue;
        ec_slice rest = {text.data + at, text.size - at};
        *token = special_at(t, rest, control);
        if (*token != EC_NO_TOKEN) return at;
    }
    return text.size;
}

/* A text between special tokens, with marks for spaces. */
static int encode_marked(const ec_tokenizer *t, ec_slice text, ec_workspace *work, ec_tokens *tokens) {
    uint8_t *marked = malloc(SPACE_BYTES * ((size_t)text.size + 1));
    if (marked == NULL) return 0;
    size_t n = 0;
    if (t->space_prefix) {
        memcpy(marked, SPACE, SPACE_BYTES);
        n = SPACE_BYTES;
    }
    for (uint64_t i = 0; i < text.size; i++) {
        if (text.data[i] == ' ') {
            memcpy(marked + n, SPACE, SPACE_BYTES);
            n += SPACE_BYTES;
        } else {
            marked[n++] = text.data[i];
        }
    }
    ec_slice whole = {marked, n};
    int done = ec_word_encode(t, whole, work, tokens);
    free(marked);
    return done;
}

/* A word as the token that it is in GPT-2's alphabet; EC_NO_TOKEN when it is none. */
static uint32_t whole_word(const ec_tokenizer *t, ec_slice word) {
    const ec_slice none = {NULL, 0};
    uint8_t spelled[256];
    size_t n = 0;
    if (2 * word.size > sizeof spelled) return EC_NO_TOKEN;
    for (uint64_t i = 0; i < word.size; i++) n += ec_utf8_put(ec_byte_character(word.data[i]), spelled + n);
    ec_slice text = {spelled, n};
    uint32_t token = ec_token_find(t, text, none);
    return token != EC_NO_TOKEN && t->types[token] == EC_TOKEN_NORMAL ? token : EC_NO_TOKEN; /* no control token */
}

static int encode_words(const ec_tokenizer *t, ec_slice text, ec_workspace *work, ec_tokens *tokens) {
    for (size_t at = 0, end; at < text.size; at = end) {
        end = ec_word_end(t->split, text, at);
        ec_slice word = {text.data + at, end - at};
        uint32_t token = t->whole_words ? whole_word(t, word) : EC_NO_TOKEN;
        if (token != EC_NO_TOKEN) {
            ec_tokens_put(tokens, token);
        } else if (!ec_word_encode(t, word, work, tokens)) {
            return 0;
        }
    }
    return 1;
}

/* A text of UTF-8. */
static int encode_text(const ec_tokenizer *t, ec_slice text, int control, ec_tokens *tokens) {
    ec_workspace work = {NULL, NULL, 0, 0, 0};
    int done = 1;
    while (done && text.size > 0) {
        uint32_t token;
        ec_slice before = {text.data, find_special(t, text, control, &token)};
        if (before.size > 0) done = (t->is_bytes ? encode_words : encode_marked)(t, before, &work, tokens);
        text.data += before.size;
        text.size -= before.size;
        if (!done || token == EC_NO_TOKEN) break;
        ec_tokens_put(tokens, token);
        uint64_t n = ec_token_text(t, token).size;
        text.data += n;
        text.size -= n;
    }
    free(work.symbols);
    free(work.heap);
    return done;
}

/* The text with U+FFFD for bytes that are not UTF-8, in memory of its own; the same text when it has none. */
static int mend(ec_slice *text, uint8_t **memory) {
    uint64_t n = 0, broken = 0;
    uint32_t character;
    for (uint64_t at = 0, step; at < text->size; at += step) {
        step = ec_utf8_next(text->data + at, (size_t)(text->size - at), &character);
        broken |= character == EC_REPLACEMENT;
        n += character == EC_REPLACEMENT ? 3 : step;
    }
    *memory = NULL;
    if (!broken) return 1;
    *memory = malloc((size_t)n);
    if (*memory == NULL) return 0;
    n = 0;
    for (uint64_t at = 0, step; at < text->size; at += step) {
        step = ec_utf8_next(text->data + at, (size_t)(text->size - at), &character);
        n += ec_utf8_put(character, *memory + n);
    }
    text->data = *memory;
    text->size = n;
    return 1;
}

size_t ec_tokenizer_encode(const ec_tokenizer *t, const char *text, size_t n_bytes, int begin, int special,
                           uint32_t *out, size_t room) {
    ec_tokens tokens = {out, out != NULL ? room : 0, 0};
    ec_slice mended = {(const uint8_t *)text, n_bytes};
    uint8_t *memory;
    if (begin && t->begins && t->bos != EC_NO_TOKEN) ec_tokens_put(&tokens, t->bos);
    if (n_bytes == 0) return tokens.n;
    if (n_bytes >= MOST_BYTES || !mend(&mended, &memory)) return SIZE_MAX;
    int done = encode_text(t, mended, special, &tokens);
    free(memory);
    return done ? tokens.n : SIZE_MAX;
}

/* Where the bytes of a piece go, as far as there is room. */
typedef struct piece {
    char *bytes;
    size_t room, n;
} piece;

static void put(piece *p, const uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; i++, p->n++) {
        if (p->n < p->room) p->bytes[p->n] = (char)bytes[i];
    }
}

/* A token with a character that is none of the alphabet stands for its own text. */
static void put_bytes(piece *p, ec_slice text) {
    for (uint64_t at = 0, step; at < text.size; at += step) {
        uint32_t character;
        step = ec_utf8_next(text.data + at, (size_t)(text.size - at), &character);
        int byte = ec_character_byte(character);
        uint8_t one = (uint8_t)byte;
        if (byte < 0) {
            p->n = 0;
            put(p, text.data, (size_t)text.size);
            return;
        }
        put(p, &one, 1);
    }
}

static void put_marked(piece *p, ec_slice text, int first) {
    for (uint64_t at = 0; at < text.size;) {
        int mark = text.size - at >= SPACE_BYTES && memcmp(text.data + at, SPACE, SPACE_BYTES) == 0;
        if (!mark) put(p, text.data + at, 1);
        if (mark && !(first && at == 0)) put(p, (const uint8_t *)" ", 1);
        at += mark ? SPACE_BYTES : 1;
    }
}

size_t ec_tokenizer_piece(const ec_tokenizer *t, uint32_t token, int first, int special, char *bytes, size_t room) {
    piece p = {bytes, bytes != NULL ? room : 0, 0};
    if (token >= t->n) return 0;
    ec_slice text = ec_token_text(t, token);
    switch (t->types[token]) {
        case EC_TOKEN_UNKNOWN:
        case EC_TOKEN_CONTROL:
        case EC_TOKEN_UNUSED:
            if (special) put(&p, text.data, (size_t)text.size);
            break;
        case EC_TOKEN_USER_DEFINED:
            put(&p, text.data, (size_t)text.size);
            break;
        case EC_TOKEN_BYTE: {
            uint32_t byte = 0;
            while (byte < 256 && t->bytes[byte] != token) byte++;
            uint8_t one = (uint8_t)byte;
            if (byte < 256) put(&p, &one, 1);
            break;
        }
        default:
            if (t->is_bytes) put_bytes(&p, text); else put_marked(&p, text, first && t->space_prefix);
    }
    return p.n;
}
