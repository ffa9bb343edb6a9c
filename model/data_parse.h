/* data_parse.h - the parsers behind brg_data_open: bytes in memory to values and labels.
 *
 * For model/data*.c and the fuzzers; everybody else calls data.h. They look at untrusted bytes and
 * never read past size_bytes. What they allocate is put on d->heaps, also when they fail, so that
 * one brg_data_close frees it. */
#ifndef BRG_DATA_PARSE_H
#define BRG_DATA_PARSE_H

#include "model/data.h"

/* What one file, or one pair of images and labels, gave. values is writable for CSV only. */
struct brg_data_table {
    uint32_t element;
    uint32_t inputs;
    struct brg_data_part part;
    float *csv_values; /* the same as part.values where the values are to be scaled, else NULL */
};

/* brg_data_fail - formats "NAME: sentence" into `error`, non-printable bytes as '?'; returns rc. */
int brg_data_fail(struct brg_data_error *error, int rc, const char *name, const char *format, ...)
    BRG_PRINTF(4, 5);

/* brg_data_alloc - size_bytes (0 allowed) that brg_data_close frees; NULL: out of memory. */
void *brg_data_alloc(struct brg_data *d, size_t size_bytes);

/* brg_data_gunzip - replaces *file by its unpacked bytes where it is gzip; several members are
 * joined, as gzip -d does. errors: BRG_ECORRUPT damaged or cut off; BRG_ENOMEM over max_bytes */
BRG_CHECK int brg_data_gunzip(struct brg_data *d, struct brg_data_bytes *file, uint64_t max_bytes,
                              struct brg_data_error *error);

/* brg_data_parse_text - the bytes as tokens. errors: BRG_ECORRUPT empty */
BRG_CHECK int brg_data_parse_text(const struct brg_data_bytes *file, struct brg_data_table *out,
                                  struct brg_data_error *error);

/* brg_data_parse_shard - a llm.c shard (256 x i32 header, 20240520, version 1) or, without that
 * number in front, bare uint16 tokens as nanoGPT writes them. errors: BRG_ECORRUPT */
BRG_CHECK int brg_data_parse_shard(const struct brg_data_bytes *file, struct brg_data_table *out,
                                   struct brg_data_error *error);

/* brg_data_parse_idx - images (u8, 2 to 4 dimensions) with their labels (u8, 1 dimension).
 * errors: BRG_ECORRUPT */
BRG_CHECK int brg_data_parse_idx(struct brg_data *d, const struct brg_data_bytes *images,
                                 const struct brg_data_bytes *labels, struct brg_data_table *out,
                                 struct brg_data_error *error);

/* brg_data_parse_csv - comma-separated finite numbers, the class number last, unscaled.
 *
 * The first line may be column names, or "rows,features,class name,..." as scikit-learn writes it;
 * then rows and features are checked. Empty lines are skipped; a byte order mark and \r\n are fine.
 * errors: BRG_ECORRUPT */
BRG_CHECK int brg_data_parse_csv(struct brg_data *d, const struct brg_data_bytes *file,
                                 struct brg_data_table *out, struct brg_data_error *error);

/* brg_data_is_blob - 1 where the bytes begin like a packed data set. */
int brg_data_is_blob(const uint8_t *data, size_t size_bytes);

/* brg_data_check_values - looks at every token, value and label of both parts; sets token_max or
 * classes. errors: BRG_ECORRUPT a value is not finite; BRG_EINVAL a held-out class is not trained
 */
BRG_CHECK int brg_data_check_values(struct brg_data *d, const char *name,
                                    struct brg_data_error *error);

/* brg_data_digest - the digest of the packed form of `d`, from its values as they are now. */
void brg_data_digest(const struct brg_data *d, struct brg_digest *out);

/* Little-endian loads and stores at any alignment. */
uint32_t brg_data_load_u32(const uint8_t *at);
uint64_t brg_data_load_u64(const uint8_t *at);

#endif
