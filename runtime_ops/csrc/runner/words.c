/* Words that a text is cut into before its bytes are merged: the regular expressions of GPT-2, Llama 3 and
 * Qwen 2
 * (edgecomp.checkpoint.tokenizer has them), by hand. */
#include "runner/tokenizer.h"
#include "runner/unicode.inc"
#include "runner/utf8.h"

typedef enum kind { LETTER, NUMBER, SPACE, OTHER } kind;

#define N_RANGES(ranges) (sizeof(ranges) / sizeof *(ranges))
#define LONG_S UINT32_C(0x17F) /* is an s where case does not count */

static int is_in(const uint32_t (*ranges)[2], size_t n, uint32_t c) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c > ranges[middle][1]) {
            low = middle + 1;
        } else if (c < ranges[middle][0]) {
            high = middle;
        } else {
            return 1;
        }
    }
    return 0;
}

static kind kind_of(uint32_t c) {
    if (c < 0x80) {
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return LETTER;
        if (c >= '0' && c <= '9') return NUMBER;
        return c == ' ' || (c >= 9 && c <= 13) ? SPACE : OTHER;
    }
    if (is_in(ec_unicode_letters, N_RANGES(ec_unicode_letters), c)) return LETTER;
    if (is_in(ec_unicode_numbers, N_RANGES(ec_unicode_numbers), c)) return NUMBER;
    return is_in(ec_unicode_spaces, N_RANGES(ec_unicode_spaces), c) ? SPACE : OTHER;
}

/* A character of the text; none, with an end of its own place, behind the text. */
typedef struct place {
    size_t at, end;
    uint32_t character;
    kind kind;
    int exists;
} place;

static place look(ec_slice text, size_t at) {
    place p = {at, at, 0, OTHER, at < text.size};
    if (!p.exists) return p;
    p.end = at + ec_utf8_next(text.data + at, (size_t)text.size - at, &p.character);
    p.kind = kind_of(p.character);
    return p;
}

static int is_line_end(const place *p) { return p->exists && (p->character == '\r' || p->character == '\n'); }

/* The end of characters of a kind, from `at` on, at most so many. */
static size_t run_end(ec_slice text, size_t at, kind kind, size_t most) {
    for (place p = look(text, at); p.exists && p.kind == kind && most > 0; p = look(text, at), most--) at = p.end;
    return at;
}

static uint32_t lower(uint32_t c) { return c >= 'A' && c <= 'Z' ? c + 32 : c == LONG_S ? 's' : c; }

/* The end of 's, 't, 're, 've, 'm, 'll or 'd, or `at`. */
static size_t contraction_end(ec_slice text, size_t at, int any_case) {
    place mark = look(text, at), first = look(text, mark.end), second = look(text, first.end);
    if (mark.character != '\'' || !first.exists) return at;
    uint32_t a = any_case ? lower(first.character) : first.character;
    uint32_t b = any_case ? lower(second.character) : second.character;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return first.end;
    int two = second.exists && ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'));
    return two ? second.end : at;
}

/* White space: all of it at the end of a text, else all but the last one, which belongs to the next word; digits that
 * stand apart end a text. */
static size_t space_end(ec_slice text, size_t at, int digits_apart) {
    size_t last = at, end = at;
    for (place p = look(text, at); p.exists && p.kind == SPACE; p = look(text, end)) {
        last = end;
        end = p.end;
    }
    place behind = look(text, end);
    int ends = !behind.exists || (digits_apart && behind.kind == NUMBER);
    return ends || last == at ? end : last;
}

static size_t gpt2_end(ec_slice text, size_t at, int digits_apart) {
    size_t end = contraction_end(text, at, 0);
    if (end != at) return end;
    place first = look(text, at);
    if (first.character == ' ') {
        place next = look(text, first.end);
        if (next.exists && next.kind != SPACE && !(digits_apart && next.kind == NUMBER)) first = next;
    }
    if (digits_apart && first.kind == NUMBER) return first.end;
    if (first.kind == SPACE) return space_end(text, at, digits_apart);
    return run_end(text, first.at, first.kind, SIZE_MAX);
}

/* White space up to its last end of a line; `at` when there is none. */
static size_t lines_end(ec_slice text, size_t at) {
    size_t end = at;
    for (place p = look(text, at); p.exists && p.kind == SPACE; p = look(text, p.end)) {
        if (is_line_end(&p)) end = p.end;
    }
    return end;
}

static size_t llama3_end(ec_slice text, size_t at, size_t digits) {
    size_t end = contraction_end(text, at, 1);
    if (end != at) return end;
    place first = look(text, at), next = look(text, first.end);
    if (first.kind == LETTER) return run_end(text, at, LETTER, SIZE_MAX);
    if (first.kind == NUMBER) return run_end(text, at, NUMBER, digits);
    if (!is_line_end(&first) && next.exists && next.kind == LETTER) return run_end(text, next.at, LETTER, SIZE_MAX);
    if (first.kind == OTHER || (first.character == ' ' && next.exists && next.kind == OTHER)) {
        end = run_end(text, first.kind == OTHER ? at : next.at, OTHER, SIZE_MAX);
        for (place p = look(text, end); is_line_end(&p); p = look(text, end)) end = p.end;
        return end;
    }
    end = lines_end(text, at);
    return end != at ? end : space_end(text, at, 0);
}

size_t ec_word_end(ec_split split, ec_slice text, size_t at) {
    switch (split) {
        case EC_SPLIT_GPT2: return gpt2_end(text, at, 0);
        case EC_SPLIT_SMOLLM: return gpt2_end(text, at, 1);
        case EC_SPLIT_LLAMA3: return llama3_end(text, at, 3);
        case EC_SPLIT_QWEN2: return llama3_end(text, at, 1);
        case EC_SPLIT_NONE: break;
    }
    return (size_t)text.size;
}
