/* data.h - a data set, whatever it was read from: opened, checked whole, split, and fixed by a
 * digest.
 *
 *   text, text.gz ──────┐
 *   nanoGPT/llm.c .bin ─┤ check, split   ┌ train: [0, train.count)    brg_data_pack   ┌───────────┐
 *   IDX, IDX.gz ────────┼───────────────►│                           ───────────────► │ .brgdata  │
 *   CSV, CSV.gz ────────┤   struct       └ held:  [0, held.count)    ◄─────────────── └───────────┘
 *   .brgdata ───────────┘   brg_data                                 brg_data_open_blob
 *
 * Once opened, a data set is read-only: any number of threads may read it. Nothing is trusted that
 * a file says: sizes are checked before arithmetic, every token, value and label is looked at once.
 * A file that fails gives one sentence in struct brg_data_error: which file, what is wrong, where,
 * and what to do.
 *
 * Meaning of the values a sampler gives out (model/sample.h):
 *   text, shards   token = byte, or the uint16 as it stands
 *   IDX            feature = byte / 255, in [0, 1]
 *   CSV            feature = value / (largest |value| of its column in the train part), so that the
 *                  train part lies in [-1, 1]; a column of zeroes stays zero. Held-out rows are
 *                  divided by the same numbers and may lie outside.
 *
 * Packed form (.brgdata), little-endian, no padding between parts:
 *    0  u8[8]  magic 89 42 52 47 44 41 54 0a ("\x89BRGDAT\n")
 *    8  u32    version, 1
 *   12  u32    kind (enum brg_data_kind)
 *   16  u32    element (enum brg_data_element)
 *   20  u32    largest token, 0 for rows
 *   24  u32    inputs a row, 0 for tokens
 *   28  u32    classes = largest label + 1, 0 for tokens
 *   32  u64    tokens or rows of the train part, >= 1
 *   40  u64    tokens or rows of the held-out part
 *   48  u64    bytes behind byte 128: values, then (rows) labels
 *   56  u64    0
 *   64  u8[32] BLAKE2b-256 of bytes [0, 64) and [128, end): the data set's digest
 *   96  u8[32] 0
 *  128         train values, held-out values, train labels u32, held-out labels u32
 * Tokens are stored as u8 where the largest is below 256, else as u16, so a text and the shard made
 * of it have one digest. */
#ifndef BRG_DATA_H
#define BRG_DATA_H

#include "base/base.h"
#include "base/digest.h"
#include "base/file.h"
#include "model/spec.h"

#define BRG_DATA_ERROR_BYTES 1024u
#define BRG_DATA_FILE_MAX (UINT64_C(1) << 40)     /* largest file that is mapped */
#define BRG_DATA_EXPANDED_MAX (UINT64_C(4) << 30) /* largest gzip file once unpacked */
#define BRG_DATA_COUNT_MAX (UINT64_C(1) << 40)    /* tokens or rows of a part */
#define BRG_DATA_INPUTS_MAX (1u << 20)            /* features a row */
#define BRG_DATA_CLASSES_MAX (1u << 16)
#define BRG_DATA_BLOB_HEADER_BYTES 128u
#define BRG_DATA_HEAPS_MAX 8u

enum brg_data_kind { BRG_DATA_TOKENS = 1, BRG_DATA_ROWS = 2 };

/* How one value lies in memory; the number is in the packed form. */
enum brg_data_element { BRG_DATA_U8 = 1, BRG_DATA_U16 = 2, BRG_DATA_F32 = 3 };

/* Why a data set was refused: one sentence, printable, with its closing NUL. */
struct brg_data_error {
    char text[BRG_DATA_ERROR_BYTES];
};

/* One part of a data set. Little-endian, at any alignment: load values with memcpy.
 *
 * shape: values [count] tokens, or [count, inputs] row-major; labels u32 [count], rows only */
struct brg_data_part {
    uint64_t count; /* tokens or rows; 0 only for a held-out part that is not there */
    const uint8_t *values;
    const uint8_t *labels;
};

struct brg_data {
    uint32_t kind;      /* enum brg_data_kind */
    uint32_t element;   /* enum brg_data_element, of the values in memory */
    uint32_t token_max; /* tokens: the largest; a vocabulary needs token_max + 1 */
    uint32_t inputs;    /* rows: features each, >= 1 */
    uint32_t classes;   /* rows: largest label + 1 */
    struct brg_data_part train, held;
    struct brg_digest digest; /* of the packed form: same digest, same training */
    /* What the parts point into; brg_data_close gives it back. */
    struct brg_file_map maps[4];
    void *heaps[BRG_DATA_HEAPS_MAX];
    uint32_t heap_count;
};

/* A file's bytes and the name it has in error sentences. */
struct brg_data_bytes {
    const char *name;
    const uint8_t *data;
    size_t size_bytes;
};

/* The files of a spec, already in memory; data == NULL: not given. */
struct brg_data_files {
    struct brg_data_bytes train, train_labels, test, test_labels;
};

/* brg_data_open - opens, checks and splits the data set that `spec` names.
 *
 * A `train` file in packed form is known by its first bytes, whatever spec->format says; it holds
 * its own split, so spec->held_out is not looked at then and a test file is refused.
 * own:    *d is filled; give it back with brg_data_close. Text and shards stay mapped: replace such
 *         a file by renaming a new one over it while it is open, never in place.
 * errors: BRG_ENOENT, BRG_EPERM, BRG_EIO a file cannot be read; BRG_EINVAL the spec contradicts
 *         itself or the data; BRG_ECORRUPT a file is damaged or not of this format; BRG_ENOMEM too
 *         large. error->text says it all; d is closed then
 * cost:   reads every byte twice (check, digest) */
BRG_CHECK int brg_data_open(const struct brg_data_spec *spec, struct brg_data *d,
                            struct brg_data_error *error);

/* brg_data_open_memory - as brg_data_open, from bytes in memory that outlive `d`; the paths in
 * `spec` are not looked at. expanded_max: the most bytes one gzip file may unpack to. */
BRG_CHECK int brg_data_open_memory(const struct brg_data_spec *spec,
                                   const struct brg_data_files *files, uint64_t expanded_max,
                                   struct brg_data *d, struct brg_data_error *error);

/* brg_data_open_blob - opens packed bytes without copying them; they have to outlive `d`.
 *
 * name:   for error sentences
 * errors: BRG_ECORRUPT anything at all is not as the format says, the digest included. Compare
 *         d->digest with the one asked for: the bytes may be a whole, other data set. */
BRG_CHECK int brg_data_open_blob(const char *name, const void *bytes, size_t size_bytes,
                                 struct brg_data *d, struct brg_data_error *error);

/* brg_data_close - gives everything back; a zeroed or closed one is allowed. */
void brg_data_close(struct brg_data *d);

/* brg_data_fits - says whether `model` can train on `d`.
 *
 * errors: BRG_EINVAL kind, vocabulary, context, inputs or classes do not fit; error->text says
 * which and what to set */
BRG_CHECK int brg_data_fits(const struct brg_data *d, const struct brg_model_spec *model,
                            struct brg_data_error *error);

/* brg_data_pack_bytes - the size of the packed form. */
uint64_t brg_data_pack_bytes(const struct brg_data *d);

/* brg_data_pack - writes the packed form to out [size_bytes].
 *
 * asserts: size_bytes == brg_data_pack_bytes(d)
 * errors:  BRG_ECORRUPT the bytes under `d` changed since it was opened */
BRG_CHECK int brg_data_pack(const struct brg_data *d, uint8_t *out, size_t size_bytes);

/* brg_data_pack_file - writes the packed form to `path`, all or nothing, durable on return.
 * errors: as brg_data_pack, and those of base/file.h */
BRG_CHECK int brg_data_pack_file(const struct brg_data *d, const char *path);

#endif
