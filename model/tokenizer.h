/* tokenizer.h - texts to token numbers and back: bytes, byte-level BPE, and llama2.c's pieces.
 *
 *   text ─split─► words ─bytes─► symbols ─merge the pair of lowest rank, again and again─► ids
 *
 *   BYTES    no merges: a token a byte
 *   GPT2     byte-level BPE, split as GPT-2 does; also with no merges at all
 *   LLAMA3   the same, split as LLaMA 3 does (at most 3 digits a word, any case of 's)
 *   QWEN2    the same with one digit a word
 *   SCORES   llama2.c's tokenizer.bin: code points, or bytes where a code point has no piece, then
 *            the pair whose joined piece scores highest, over the whole text
 *
 * A tokenizer is read-only once made: any number of threads may use it. An encoder holds scratch
 * and a cache of words and belongs to one thread at a time.
 *
 * Every string of bytes can be encoded, UTF-8 or not, and decoding gives back exactly its bytes,
 * except in SCORES, which put one blank before a text.
 *
 * source: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units",
 *         ACL 2016, Alg. 1; Radford et al., "Language Models are Unsupervised Multitask Learners",
 *         2019, sec. 2.2 (bytes as the base vocabulary) */
#ifndef BRG_MODEL_TOKENIZER_H
#define BRG_MODEL_TOKENIZER_H

#include "base/digest.h"
#include "base/why.h"

#define BRG_TOKEN_NONE UINT32_MAX
#define BRG_TOKENIZER_VOCAB_MAX (UINT32_C(1) << 20)
#define BRG_TOKENIZER_SPECIALS_MAX 4096u
#define BRG_TOKENIZER_JSON_MAX (UINT32_C(64) << 20) /* bytes of a tokenizer.json */
#define BRG_TOKENIZER_TEXT_MAX (UINT32_C(1) << 30)  /* bytes encoded at once */

enum brg_tokenizer_kind {
    BRG_TOKENIZER_BYTES = 1,
    BRG_TOKENIZER_GPT2 = 2,
    BRG_TOKENIZER_LLAMA3 = 3,
    BRG_TOKENIZER_QWEN2 = 4,
    BRG_TOKENIZER_SCORES = 5,
};

/* Numbered as GGUF's tokenizer.ggml.token_type. */
enum brg_token_type {
    BRG_TOKEN_NORMAL = 1,
    BRG_TOKEN_UNKNOWN = 2,
    BRG_TOKEN_CONTROL = 3, /* begin, end, ...: never made from plain text */
    BRG_TOKEN_ADDED = 4,   /* matched in the text before it is split */
    BRG_TOKEN_UNUSED = 5,  /* a number without a piece */
    BRG_TOKEN_BYTE = 6,    /* SCORES: a byte that no piece holds */
};

struct brg_token {
    const uint8_t *bytes;
    uint32_t size; /* 0: unused */
    uint32_t type; /* enum brg_token_type */
    float score;   /* of SCORES; 0 elsewhere */
};

/* Rule `i` in order of rank: left and right become result. */
struct brg_merge {
    uint32_t left, right, result;
};

struct brg_tokenizer;

/* What a tokenizer is, for exports and reports. */
struct brg_tokenizer_info {
    uint32_t kind;                 /* enum brg_tokenizer_kind */
    uint32_t vocab;                /* token numbers are below it */
    uint32_t bos, eos, unk;        /* BRG_TOKEN_NONE: there is none */
    uint32_t add_bos;              /* 1: programs put bos before a text */
    uint32_t merge_count, longest; /* longest: bytes of the longest token */
};

/* brg_tokenizer_bytes - a token a byte, numbered as the byte; vocab 256, no marks.
 * own: *out is the caller's, brg_tokenizer_destroy. errors: BRG_ENOMEM */
BRG_CHECK int brg_tokenizer_bytes(struct brg_tokenizer **out, struct brg_why *why);

/* brg_tokenizer_open - reads a tokenizer.json, a tokenizer.bin of llama2.c, or the folder that
 * holds one of them.
 *
 * errors: those of base/file.h; BRG_ECORRUPT damaged; BRG_EINVAL a kind that cannot be computed:
 *         the sentence names it */
BRG_CHECK int brg_tokenizer_open(const char *path, struct brg_tokenizer **out, struct brg_why *why);

/* brg_tokenizer_parse_json, brg_tokenizer_parse_bin - the same from memory; name: for sentences. */
BRG_CHECK int brg_tokenizer_parse_json(const char *name, const uint8_t *text, size_t size_bytes,
                                       struct brg_tokenizer **out, struct brg_why *why);
BRG_CHECK int brg_tokenizer_parse_bin(const char *name, const uint8_t *bytes, size_t size_bytes,
                                      struct brg_tokenizer **out, struct brg_why *why);

void brg_tokenizer_destroy(struct brg_tokenizer *t);

void brg_tokenizer_info_of(const struct brg_tokenizer *t, struct brg_tokenizer_info *out);

/* brg_tokenizer_token - token `id`. asserts: id < vocab */
struct brg_token brg_tokenizer_token(const struct brg_tokenizer *t, uint32_t id);

/* brg_tokenizer_merges - all merges by rank. shape: [merge_count] */
const struct brg_merge *brg_tokenizer_merges(const struct brg_tokenizer *t);

/* brg_tokenizer_byte - the token of a single byte. */
uint32_t brg_tokenizer_byte(const struct brg_tokenizer *t, uint8_t byte);

/* brg_tokenizer_symbols - token `id` as byte-level files write it: each byte as one printable
 * character (GPT-2's table), marks as they are. own: *out is the caller's; NULL without memory */
char *brg_tokenizer_symbols(const struct brg_tokenizer *t, uint32_t id);

/* brg_tokenizer_json - the tokenizer as tokenizer.json, NUL-terminated; *size without it.
 * own: *out is the caller's: free()
 * errors: BRG_ENOMEM; BRG_EINVAL SCORES, which that file cannot say */
BRG_CHECK int brg_tokenizer_json(const struct brg_tokenizer *t, char **out, size_t *size,
                                 struct brg_why *why);

/* brg_tokenizer_bin - the tokenizer as llama2.c's tokenizer.bin, filled up to `vocab` tokens.
 * own: *out is the caller's. errors: BRG_ENOMEM; BRG_EINVAL vocab is below its own */
BRG_CHECK int brg_tokenizer_bin(const struct brg_tokenizer *t, uint32_t vocab, uint8_t **out,
                                size_t *size, struct brg_why *why);

/* brg_tokenizer_digest - of what it is, whatever file it came from; for metadata and manifests. */
void brg_tokenizer_digest(const struct brg_tokenizer *t, struct brg_digest *out);

/* How a byte-level BPE is trained. */
struct brg_tokenizer_train {
    uint32_t vocab;            /* tokens wanted, 256 + marks .. 65536 */
    uint32_t kind;             /* GPT2, LLAMA3 or QWEN2: how words are cut */
    uint32_t is_without_marks; /* 1: bytes are 0 .. 255; else 0 unk, 1 begin, 2 end, bytes from 3 */
};

/* brg_tokenizer_train_on - learns merges from a text: the pair that occurs most often becomes a
 * token, again and again; of equals the one with the lower numbers. Ends early where no pair
 * occurs twice.
 *
 * own:    *out is the caller's
 * errors: BRG_EINVAL a setting out of range or an empty text; BRG_ENOMEM
 * cost:   O(text + merges * words that change): seconds for some ten MB */
BRG_CHECK int brg_tokenizer_train_on(const struct brg_tokenizer_train *how, const uint8_t *text,
                                     size_t size_bytes, struct brg_tokenizer **out,
                                     struct brg_why *why);

/* Token numbers, growing; zero it to begin with, free(ids) at the end. */
struct brg_token_list {
    uint32_t *ids;
    size_t count, capacity;
};

enum brg_encode_flags {
    BRG_ENCODE_PLAIN = 0,
    BRG_ENCODE_MARKS = 1, /* the text's "<|endoftext|>" and the like become those tokens */
};

struct brg_encoder;

/* brg_encoder_create - an encoder for `t`, which must outlive it.
 * own: *out is the caller's, brg_encoder_destroy. errors: BRG_ENOMEM */
BRG_CHECK int brg_encoder_create(const struct brg_tokenizer *t, struct brg_encoder **out);
void brg_encoder_destroy(struct brg_encoder *e);

/* brg_encoder_add - appends the tokens of a text. Nothing is put before or behind it.
 *
 * flags:  enum brg_encode_flags
 * errors: BRG_EINVAL over BRG_TOKENIZER_TEXT_MAX; BRG_ENOMEM; the list then holds a part
 * cost:   O(n) for words seen before, O(n log n) in the length of a word */
BRG_CHECK int brg_encoder_add(struct brg_encoder *e, const uint8_t *text, size_t size_bytes,
                              uint32_t flags, struct brg_token_list *list);

/* brg_token_list_add - appends one. errors: BRG_ENOMEM */
BRG_CHECK int brg_token_list_add(struct brg_token_list *list, uint32_t id);

/* brg_tokenizer_split - bytes of the first word of text [0, size), >= 1. asserts: size > 0, a
 * byte-level kind */
size_t brg_tokenizer_split(uint32_t kind, const uint8_t *text, size_t size);

#endif
