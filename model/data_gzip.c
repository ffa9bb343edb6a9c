#include "model/data_parse.h"

#include <inttypes.h>
#include <string.h>
#include <zlib.h>

#define GZIP_WINDOW_BITS (15 + 16) /* gzip members only, no bare zlib streams */
#define GROW_BYTES_MIN (UINT64_C(1) << 16)

static int is_gzip(const struct brg_data_bytes *file) {
    return file->size_bytes >= 2 && file->data[0] == 0x1f && file->data[1] == 0x8b;
}

/* The bytes unpacked so far. Grows by doubling, up to max_bytes. */
struct output {
    uint8_t *data;
    size_t size_bytes, capacity_bytes;
    uint64_t max_bytes;
};

static int make_room(struct output *o) {
    if (o->size_bytes < o->capacity_bytes) return BRG_OK;
    uint64_t want =
        o->capacity_bytes < GROW_BYTES_MIN ? GROW_BYTES_MIN : (uint64_t)o->capacity_bytes * 2;
    if (want > o->max_bytes) want = o->max_bytes;
    if (want <= o->capacity_bytes) return BRG_ENOMEM;
    uint8_t *grown = realloc(o->data, (size_t)want);
    if (grown == NULL) return BRG_ENOMEM;
    o->data = grown;
    o->capacity_bytes = (size_t)want;
    return BRG_OK;
}

/* Unpacks all members; every turn consumes input or makes output, so it ends. */
static int inflate_all(const struct brg_data_bytes *file, struct output *o, size_t *used) {
    z_stream z;
    memset(&z, 0, sizeof z);
    if (inflateInit2(&z, GZIP_WINDOW_BITS) != Z_OK) return BRG_ENOMEM;
    int rc = BRG_OK;
    *used = 0;
    for (;;) {
        rc = make_room(o);
        if (rc != BRG_OK) break;
        const size_t left = file->size_bytes - *used;
        const size_t room = o->capacity_bytes - o->size_bytes;
        z.next_in = (Bytef *)(uintptr_t)(file->data + *used);
        z.avail_in = left < UINT32_MAX ? (uInt)left : UINT32_MAX;
        z.next_out = o->data + o->size_bytes;
        z.avail_out = room < UINT32_MAX ? (uInt)room : UINT32_MAX;
        const uInt in = z.avail_in, out = z.avail_out;
        const int r = inflate(&z, Z_NO_FLUSH);
        *used += in - z.avail_in;
        o->size_bytes += out - z.avail_out;
        if (r == Z_STREAM_END) {
            if (*used == file->size_bytes) break; /* the last member is whole */
            if (inflateReset(&z) != Z_OK) rc = BRG_ENOMEM;
        } else if (r != Z_OK || (z.avail_in == in && z.avail_out == out)) {
            rc = r == Z_MEM_ERROR ? BRG_ENOMEM : BRG_ECORRUPT; /* also cut off: no progress */
        }
        if (rc != BRG_OK) break;
    }
    (void)inflateEnd(&z);
    return rc;
}

int brg_data_gunzip(struct brg_data *d, struct brg_data_bytes *file, uint64_t max_bytes,
                    struct brg_data_error *error) {
    struct output o = {.max_bytes = max_bytes < SIZE_MAX ? max_bytes : SIZE_MAX};
    size_t used = 0;
    if (!is_gzip(file)) return BRG_OK;
    const int rc = inflate_all(file, &o, &used);
    if (rc == BRG_OK && d->heap_count < BRG_DATA_HEAPS_MAX) {
        d->heaps[d->heap_count++] = o.data; /* brg_data_close frees it */
        file->data = o.data;
        file->size_bytes = o.size_bytes;
        return BRG_OK;
    }
    free(o.data);
    if (rc == BRG_ECORRUPT)
        return brg_data_fail(error, rc, file->name,
                             "the gzip data is cut off or damaged near byte %zu of %zu; fetch the "
                             "file again",
                             used, file->size_bytes);
    return brg_data_fail(error, BRG_ENOMEM, file->name,
                         "it unpacks to more than %" PRIu64
                         " bytes or to more memory than there is; unpack it and give the plain "
                         "file, or a part of it",
                         max_bytes);
}
