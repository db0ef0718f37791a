/* What the parts of the tokenizer share. */
#ifndef EC_TOKENIZER_H
#define EC_TOKENIZER_H

#include "container/gguf.h"
#include "runner.h"

#define EC_MOST_TOKENS (UINT32_C(1) << 20) /* elements of an array in a container */
#define EC_MOST_TOKEN_BYTES 1024           /* of one token: texts take no time that grows with the longest */

typedef enum ec_token_type {
    EC_TOKEN_NORMAL = 1,
    EC_TOKEN_UNKNOWN = 2,
    EC_TOKEN_CONTROL = 3,
    EC_TOKEN_USER_DEFINED = 4,
    EC_TOKEN_UNUSED = 5,
    EC_TOKEN_BYTE = 6
} ec_token_type;

typedef enum ec_split { EC_SPLIT_NONE = 0, EC_SPLIT_GPT2, EC_SPLIT_SMOLLM, EC_SPLIT_LLAMA3, EC_SPLIT_QWEN2 } ec_split;

/* Places in a table of ids that are found by text: a power of two, at least twice as many as there are ids. */
typedef struct ec_id_table {
    uint32_t *slots;         /* id + 1; 0: empty */
    uint32_t mask;
} ec_id_table;

/* A merge of two tokens; the first ones come first. */
typedef struct ec_merge { uint32_t left, right, merged; } ec_merge;

/* Memory beside the container: some 13 bytes a token, and some 20 a merge or, without merges, 4 a token. */
struct ec_tokenizer {
    int is_bytes;            /* byte-level BPE; else SentencePiece's */
    ec_split split;
    int space_prefix, begins, whole_words;
    uint32_t n, bos, eos, unknown;
    uint64_t longest;        /* bytes of a token, at most */
    ec_slice strings;        /* of the tokens, as they lie in the file */
    uint32_t *starts;        /* [n]: where each one's length lies in `strings` */
    uint8_t *types;          /* [n] */
    float *scores;           /* [n], SentencePiece */
    ec_id_table ids;
    ec_merge *merges;        /* [n_merges], byte-level */
    uint32_t n_merges;
    ec_id_table ranks;       /* of merges, by the two tokens */
    uint32_t *specials;      /* [n_specials]: tokens that are looked for in texts, in the order of their bytes */
    uint32_t n_specials;
    uint8_t special_starts[32]; /* a bit for every byte that one of them begins with */
    uint32_t bytes[256];     /* the token of each byte, or EC_NO_TOKEN */
};

ec_slice ec_token_text(const ec_tokenizer *tokenizer, uint32_t token);

/* The token that a text is; the text is `a` with `b` behind it. EC_NO_TOKEN when there is none. */
uint32_t ec_token_find(const ec_tokenizer *tokenizer, ec_slice a, ec_slice b);

/* The merge of two tokens: its number, or EC_NO_TOKEN. */
uint32_t ec_merge_find(const ec_tokenizer *tokenizer, uint32_t left, uint32_t right);

/* Makes a table for n ids; 0 when memory runs out. */
int ec_id_table_make(ec_id_table *table, uint32_t n);

/* Adds what was read from the file to the tables; 0 when it cannot be told apart. */
int ec_tokens_add(ec_tokenizer *tokenizer);
int ec_merges_add(ec_tokenizer *tokenizer);

/* The character of GPT-2's alphabet that stands for a byte, and back: -1 for others. */
uint32_t ec_byte_character(uint8_t byte);
int ec_character_byte(uint32_t character);

/* The end of the word that begins at `at` of a text of well-formed UTF-8. */
size_t ec_word_end(ec_split split, ec_slice text, size_t at);

/* Where tokens go, as far as there is room; all are counted. */
typedef struct ec_tokens {
    uint32_t *out;
    size_t room, n;
} ec_tokens;
static inline void ec_tokens_put(ec_tokens *tokens, uint32_t token) {
    if (tokens->n < tokens->room) tokens->out[tokens->n] = token;
    tokens->n++;
}

/* Part of a text that grows by merges; n is 0 when it is part of the one before it. */
typedef struct ec_symbol { uint32_t start, n, token, previous, next; } ec_symbol;

/* Two neighbours that may be merged, the least order first, then the leftmost. */
typedef struct ec_candidate { uint32_t order, left, size, merged; } ec_candidate;

/* Memory of a call that grows with its words. */
typedef struct ec_workspace {
    ec_symbol *symbols;
    ec_candidate *heap;
    size_t n_symbols, room, n_heap;
} ec_workspace;

/* Room for n symbols and their merges; 0 when memory runs out. */
int ec_workspace_reserve(ec_workspace *work, size_t n);

/* Adds the tokens of a text without special ones; `text` has less than 2^31 bytes, of UTF-8. 0 when memory runs out. */
int ec_word_encode(const ec_tokenizer *tokenizer, ec_slice word, ec_workspace *work, ec_tokens *tokens);

#endif
