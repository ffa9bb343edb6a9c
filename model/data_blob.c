#include "model/data_parse.h"

#include <inttypes.h>
#include <string.h>

#define BLOB_VERSION 1u
#define CONVERT_VALUES 4096u /* uint16 tokens narrowed at a time */
#define FIXED_BYTES 64u      /* of the header, covered by the digest */
#define DIGEST_AT 64u

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are used as they lie in files");

static const uint8_t blob_magic[8] = {0x89, 'B', 'R', 'G', 'D', 'A', 'T', '\n'};

/* Where packed bytes go, in order. */
struct sink {
    int (*put)(struct sink *s, const void *data, size_t size_bytes);
    struct brg_hasher hasher;       /* of all but the digest itself */
    uint8_t *out;                   /* put_memory */
    struct brg_file_writer *writer; /* put_file */
};

uint32_t brg_data_load_u32(const uint8_t *at) {
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return v;
}

uint64_t brg_data_load_u64(const uint8_t *at) {
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return v;
}

static void store_u32(uint8_t *at, uint32_t v) {
    memcpy(at, &v, sizeof v);
}

static void store_u64(uint8_t *at, uint64_t v) {
    memcpy(at, &v, sizeof v);
}

int brg_data_is_blob(const uint8_t *data, size_t size_bytes) {
    return size_bytes >= sizeof blob_magic && memcmp(data, blob_magic, sizeof blob_magic) == 0;
}

static uint64_t element_bytes(uint32_t element) {
    switch (element) {
    case BRG_DATA_U8: return 1;
    case BRG_DATA_U16: return 2;
    default: return 4;
    }
}

/* The element of the packed form: tokens take the narrowest that holds them all. */
static uint32_t packed_element(const struct brg_data *d) {
    if (d->kind != BRG_DATA_TOKENS) return d->element;
    return d->token_max < 256 ? BRG_DATA_U8 : BRG_DATA_U16;
}

/* Values of one part; the counts are below 2^40 and a row below 2^20. */
static uint64_t part_values(const struct brg_data *d, uint64_t count) {
    return d->kind == BRG_DATA_TOKENS ? count : count * d->inputs;
}

static uint64_t payload_bytes(const struct brg_data *d) {
    const uint64_t count = d->train.count + d->held.count;
    const uint64_t labels = d->kind == BRG_DATA_ROWS ? count * 4 : 0;
    return part_values(d, count) * element_bytes(packed_element(d)) + labels;
}

uint64_t brg_data_pack_bytes(const struct brg_data *d) {
    return BRG_DATA_BLOB_HEADER_BYTES + payload_bytes(d);
}

/* The header but its digest. */
static void make_header(const struct brg_data *d, uint8_t *h) {
    memset(h, 0, BRG_DATA_BLOB_HEADER_BYTES);
    memcpy(h, blob_magic, sizeof blob_magic);
    store_u32(h + 8, BLOB_VERSION);
    store_u32(h + 12, d->kind);
    store_u32(h + 16, packed_element(d));
    store_u32(h + 20, d->token_max);
    store_u32(h + 24, d->inputs);
    store_u32(h + 28, d->classes);
    store_u64(h + 32, d->train.count);
    store_u64(h + 40, d->held.count);
    store_u64(h + 48, payload_bytes(d));
}

static int put(struct sink *s, const void *data, size_t size_bytes) {
    if (size_bytes == 0) return BRG_OK;
    brg_hasher_update(&s->hasher, data, size_bytes);
    return s->put == NULL ? BRG_OK : s->put(s, data, size_bytes);
}

/* Values of one part in the packed element. Narrowing a token that has changed since it was looked
 * at cannot go unnoticed: the digest then differs. */
static int put_values(struct sink *s, const struct brg_data *d, const struct brg_data_part *part) {
    const uint64_t values = part_values(d, part->count);
    if (d->element == packed_element(d))
        return put(s, part->values, (size_t)(values * element_bytes(d->element)));
    uint8_t narrow[CONVERT_VALUES];
    for (uint64_t done = 0; done < values;) {
        const uint64_t left = values - done;
        const size_t n = left < CONVERT_VALUES ? (size_t)left : CONVERT_VALUES;
        for (size_t i = 0; i < n; i++) narrow[i] = part->values[2 * (done + i)];
        const int rc = put(s, narrow, n);
        if (rc != BRG_OK) return rc;
        done += n;
    }
    return BRG_OK;
}

/* All behind the header, and the first 64 bytes of it into the hash only. */
static int put_payload(struct sink *s, const struct brg_data *d, const uint8_t *header) {
    brg_hasher_init(&s->hasher);
    brg_hasher_update(&s->hasher, header, FIXED_BYTES);
    int rc = put_values(s, d, &d->train);
    if (rc == BRG_OK) rc = put_values(s, d, &d->held);
    if (rc != BRG_OK || d->kind != BRG_DATA_ROWS) return rc;
    rc = put(s, d->train.labels, (size_t)(d->train.count * 4));
    if (rc == BRG_OK) rc = put(s, d->held.labels, (size_t)(d->held.count * 4));
    return rc;
}

void brg_data_digest(const struct brg_data *d, struct brg_digest *out) {
    struct sink s = {.put = NULL};
    uint8_t header[BRG_DATA_BLOB_HEADER_BYTES];
    make_header(d, header);
    const int rc = put_payload(&s, d, header);
    BRG_ASSERT(rc == BRG_OK); /* nothing is written, so nothing can fail */
    brg_hasher_final(&s.hasher, out);
}

/* Packs through `s`: header with the digest known since opening, payload, and the comparison that
 * tells whether the bytes are still those. */
static int pack(const struct brg_data *d, struct sink *s) {
    uint8_t header[BRG_DATA_BLOB_HEADER_BYTES];
    struct brg_digest now;
    BRG_ASSERT(d->train.count > 0);
    make_header(d, header);
    memcpy(header + DIGEST_AT, d->digest.bytes, sizeof d->digest.bytes);
    int rc = s->put(s, header, sizeof header);
    if (rc == BRG_OK) rc = put_payload(s, d, header);
    if (rc != BRG_OK) return rc;
    brg_hasher_final(&s->hasher, &now);
    return brg_digest_equal(&now, &d->digest) ? BRG_OK : BRG_ECORRUPT;
}

static int put_memory(struct sink *s, const void *data, size_t size_bytes) {
    memcpy(s->out, data, size_bytes);
    s->out += size_bytes;
    return BRG_OK;
}

static int put_file(struct sink *s, const void *data, size_t size_bytes) {
    return brg_file_writer_append(s->writer, data, size_bytes);
}

int brg_data_pack(const struct brg_data *d, uint8_t *out, size_t size_bytes) {
    struct sink s = {.put = put_memory, .out = out};
    BRG_ASSERT(size_bytes == brg_data_pack_bytes(d));
    const int rc = pack(d, &s);
    BRG_ASSERT(rc != BRG_OK || s.out == out + size_bytes);
    return rc;
}

int brg_data_pack_file(const struct brg_data *d, const char *path) {
    struct brg_file_writer w;
    struct sink s = {.put = put_file, .writer = &w};
    int rc = brg_file_writer_open(&w, path, 0644);
    if (rc != BRG_OK) return rc;
    rc = pack(d, &s);
    if (rc == BRG_OK) return brg_file_writer_commit(&w);
    brg_file_writer_abort(&w);
    return rc;
}

static int damaged(const char *name, struct brg_data_error *error, const char *what) {
    return brg_data_fail(error, BRG_ECORRUPT, name,
                         "the packed data set is damaged: %s; pack it again with 'brigade data "
                         "prepare', or fetch it again",
                         what);
}

/* The header's numbers into `d`; every product that follows from them fits 64 bits. */
static int read_header(const char *name, const uint8_t *b, struct brg_data *d,
                       struct brg_data_error *error) {
    if (brg_data_load_u32(b + 8) != BLOB_VERSION)
        return brg_data_fail(error, BRG_ECORRUPT, name,
                             "the packed data set has version %" PRIu32 " at byte 8, but this "
                             "program reads version %u; pack it again with this program",
                             brg_data_load_u32(b + 8), BLOB_VERSION);
    d->kind = brg_data_load_u32(b + 12);
    d->element = brg_data_load_u32(b + 16);
    d->token_max = brg_data_load_u32(b + 20);
    d->inputs = brg_data_load_u32(b + 24);
    d->classes = brg_data_load_u32(b + 28);
    d->train.count = brg_data_load_u64(b + 32);
    d->held.count = brg_data_load_u64(b + 40);
    if (d->train.count == 0 || d->train.count > BRG_DATA_COUNT_MAX ||
        d->held.count > BRG_DATA_COUNT_MAX)
        return damaged(name, error, "a count at bytes 32 to 47 is out of range");
    if (d->kind == BRG_DATA_TOKENS) {
        if (d->token_max > UINT16_MAX || d->element != packed_element(d) || d->inputs != 0 ||
            d->classes != 0)
            return damaged(name, error, "bytes 16 to 31 do not describe tokens");
    } else if (d->kind == BRG_DATA_ROWS) {
        if ((d->element != BRG_DATA_U8 && d->element != BRG_DATA_F32) || d->token_max != 0 ||
            d->inputs == 0 || d->inputs > BRG_DATA_INPUTS_MAX || d->classes == 0 ||
            d->classes > BRG_DATA_CLASSES_MAX)
            return damaged(name, error, "bytes 16 to 31 do not describe rows");
    } else {
        return damaged(name, error, "the kind at byte 12 is unknown");
    }
    return BRG_OK;
}

int brg_data_open_blob(const char *name, const void *bytes, size_t size_bytes, struct brg_data *d,
                       struct brg_data_error *error) {
    const uint8_t *b = bytes;
    static const uint8_t zeroes[BRG_DATA_BLOB_HEADER_BYTES - 96];
    struct brg_digest stored;
    int rc = BRG_OK;

    memset(d, 0, sizeof *d);
    error->text[0] = '\0';
    if (size_bytes < BRG_DATA_BLOB_HEADER_BYTES || !brg_data_is_blob(b, size_bytes)) {
        rc = damaged(name, error, "it does not begin with a whole header");
        goto out;
    }
    rc = read_header(name, b, d, error);
    if (rc != BRG_OK) goto out;
    /* count * inputs is below 2^41 * 2^20, times 4 below 2^63: no product can wrap. */
    const uint64_t payload = payload_bytes(d);
    if (brg_data_load_u64(b + 48) != payload ||
        size_bytes - BRG_DATA_BLOB_HEADER_BYTES != payload) {
        rc = damaged(name, error, "its length is not the one that its counts make");
        goto out;
    }
    if (brg_data_load_u64(b + 56) != 0 || memcmp(b + 96, zeroes, sizeof zeroes) != 0) {
        rc = damaged(name, error, "bytes of the header that must be 0 are not");
        goto out;
    }
    const uint64_t train_bytes = part_values(d, d->train.count) * element_bytes(d->element);
    const uint64_t held_bytes = part_values(d, d->held.count) * element_bytes(d->element);
    d->train.values = b + BRG_DATA_BLOB_HEADER_BYTES;
    d->held.values = d->train.values + train_bytes;
    if (d->kind == BRG_DATA_ROWS) {
        d->train.labels = d->held.values + held_bytes;
        d->held.labels = d->train.labels + d->train.count * 4;
    }
    memcpy(stored.bytes, b + DIGEST_AT, sizeof stored.bytes);
    brg_data_digest(d, &d->digest);
    if (!brg_digest_equal(&stored, &d->digest)) {
        rc = damaged(name, error, "its bytes do not give the digest at byte 64");
        goto out;
    }
    const uint32_t token_max = d->token_max, classes = d->classes;
    rc = brg_data_check_values(d, name, error);
    if (rc == BRG_OK && (d->token_max != token_max || d->classes != classes))
        rc = damaged(name, error, "its largest token or label is not the one in its header");
    if (rc == BRG_EINVAL) rc = BRG_ECORRUPT; /* a packer of ours never writes such a one */
out:
    if (rc != BRG_OK) brg_data_close(d);
    return rc;
}
