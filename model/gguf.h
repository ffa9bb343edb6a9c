/* gguf.h - GGUF version 3, the file of llama.cpp and the programs around it: read and written.
 *
 *   "GGUF"  u32 3  u64 tensors  u64 keys
 *   keys     text key, u32 type, value; a text is u64 bytes and the bytes; a list is u32 type, u64
 *            count and the items
 *   tensors  text name, u32 dims, u64 dims (the row length first), u32 type, u64 offset
 *   zeroes up to a multiple of general.alignment (32 where it is not given); offsets count from
 * here data     each tensor at a multiple of the alignment, zeroes between
 *
 * Read strictly: every length is checked against what is left of the file before it is used, no key
 * or tensor comes twice, and the tensors cover the data in order with less than one alignment of
 * zeroes between them and behind the last.
 * A file once opened is read-only: any number of threads may read it. */
#ifndef BRG_MODEL_GGUF_H
#define BRG_MODEL_GGUF_H

#include "base/file.h"
#include "base/why.h"
#include "model/dtype.h"

#define BRG_GGUF_KEYS_MAX 4096u
#define BRG_GGUF_TENSORS_MAX 65536u
#define BRG_GGUF_DIMS_MAX 4u
#define BRG_GGUF_NAME_MAX 64u
#define BRG_GGUF_ALIGNMENT 32u

enum brg_gguf_type {
    BRG_GGUF_U8 = 0,
    BRG_GGUF_I8 = 1,
    BRG_GGUF_U16 = 2,
    BRG_GGUF_I16 = 3,
    BRG_GGUF_U32 = 4,
    BRG_GGUF_I32 = 5,
    BRG_GGUF_F32 = 6,
    BRG_GGUF_BOOL = 7,
    BRG_GGUF_TEXT = 8,
    BRG_GGUF_LIST = 9,
    BRG_GGUF_U64 = 10,
    BRG_GGUF_I64 = 11,
    BRG_GGUF_F64 = 12,
};

/* Bytes inside the file; no NUL behind them. */
struct brg_gguf_text {
    const uint8_t *bytes;
    uint64_t size;
};

struct brg_gguf_key {
    struct brg_gguf_text name;
    uint32_t type;       /* enum brg_gguf_type */
    uint32_t item_type;  /* of a list */
    uint64_t count;      /* of a list; else 1 */
    const uint8_t *data; /* the value, or the first item */
    uint64_t size_bytes;
};

struct brg_gguf_tensor {
    struct brg_gguf_text name;
    uint32_t dims;
    uint64_t shape[BRG_GGUF_DIMS_MAX]; /* shape[0]: the row length */
    uint32_t type;                     /* as in the file */
    uint32_t dtype;                    /* enum brg_weight; OTHER: quantized or an integer */
    uint64_t offset, size_bytes;       /* size_bytes 0 where dtype is OTHER */
    const uint8_t *data;
};

struct brg_gguf {
    const char *name; /* for sentences */
    uint32_t key_count, tensor_count;
    struct brg_gguf_key *keys;
    struct brg_gguf_tensor *tensors; /* in the order of the file */
    uint64_t alignment, data_at;
    struct brg_file_map map; /* empty where the bytes are the caller's */
};

/* brg_gguf_open - maps and checks `path`; the name is borrowed.
 *
 * own:    give it back with brg_gguf_close; closed after an error
 * errors: those of base/file.h; BRG_ECORRUPT it breaks a rule of the format; BRG_EINVAL another
 *         version; BRG_ENOMEM more keys or tensors than are read */
BRG_CHECK int brg_gguf_open(const char *path, struct brg_gguf *g, struct brg_why *why);

/* brg_gguf_parse - the same on bytes that outlive `g`. */
BRG_CHECK int brg_gguf_parse(const char *name, const uint8_t *bytes, size_t size_bytes,
                             struct brg_gguf *g, struct brg_why *why);

void brg_gguf_close(struct brg_gguf *g);

/* brg_gguf_find, brg_gguf_tensor_find - by name; NULL: not there. */
const struct brg_gguf_key *brg_gguf_find(const struct brg_gguf *g, const char *key);
const struct brg_gguf_tensor *brg_gguf_tensor_find(const struct brg_gguf *g, const char *name);

/* brg_gguf_u32, brg_gguf_f32 - a number at `key`; *out stays as it is where there is none.
 * errors: BRG_ECORRUPT of another type, or not in [0, 2^32 - 1] */
BRG_CHECK int brg_gguf_u32(const struct brg_gguf *g, const char *key, uint32_t *out,
                           struct brg_why *why);
BRG_CHECK int brg_gguf_f32(const struct brg_gguf *g, const char *key, float *out,
                           struct brg_why *why);

/* brg_gguf_next - the text at *at of a list of texts, moving *at on. A list that was opened holds
 * `count` of them. asserts: *at lies inside */
struct brg_gguf_text brg_gguf_next(const struct brg_gguf_key *list, uint64_t *at);

/* A header under way. Keys first, then finish; a write that fails is found at the end. */
struct brg_gguf_writer {
    FILE *f;
    char *text;
    size_t size_bytes;
    uint64_t key_count;
};

struct brg_gguf_entry {
    const char *name;
    uint32_t dtype, dims;
    uint64_t rows, cols; /* dims 1: cols only */
};

/* brg_gguf_begin - own: end with brg_gguf_finish or brg_gguf_drop. errors: BRG_ENOMEM */
BRG_CHECK int brg_gguf_begin(struct brg_gguf_writer *w);
void brg_gguf_put_u32(struct brg_gguf_writer *w, const char *key, uint32_t value);
void brg_gguf_put_f32(struct brg_gguf_writer *w, const char *key, float value);
void brg_gguf_put_flag(struct brg_gguf_writer *w, const char *key, uint32_t value);
void brg_gguf_put_text(struct brg_gguf_writer *w, const char *key, const char *value);
/* The head of a list; exactly `count` items follow, by brg_gguf_item*. */
void brg_gguf_put_list(struct brg_gguf_writer *w, const char *key, uint32_t type, uint64_t count);
void brg_gguf_item(struct brg_gguf_writer *w, const void *value, size_t size_bytes);
void brg_gguf_item_text(struct brg_gguf_writer *w, const void *bytes, size_t size_bytes);

/* brg_gguf_finish - all bytes before the data, padded; the data of entry i follows at the next
 * multiple of BRG_GGUF_ALIGNMENT.
 * own: *out is the caller's: free(). errors: BRG_ENOMEM */
BRG_CHECK int brg_gguf_finish(struct brg_gguf_writer *w, const struct brg_gguf_entry *entries,
                              uint32_t count, char **out, size_t *size_bytes);
void brg_gguf_drop(struct brg_gguf_writer *w);

#endif
