#include "model/data_parse.h"

#include <inttypes.h>
#include <string.h>

/* IDX: two zero bytes, the element's type, the number of dimensions; the dimensions as big-endian
 * u32; the elements, last dimension fastest. */
#define IDX_TYPE_U8 0x08
#define IDX_DIMS_MAX 4u

struct idx {
    uint32_t dims;
    uint32_t dim[IDX_DIMS_MAX];
    uint64_t row_bytes; /* product of the dimensions but the first */
    const uint8_t *elements;
};

static uint32_t load_be32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static const char *type_name(uint8_t type) {
    switch (type) {
    case 0x09: return "signed bytes";
    case 0x0B: return "16-bit integers";
    case 0x0C: return "32-bit integers";
    case 0x0D: return "32-bit floats";
    case 0x0E: return "64-bit floats";
    default: return "of an unknown type";
    }
}

/* The first four bytes: unsigned bytes in dims_min to dims_max dimensions. */
static int check_magic(const struct brg_data_bytes *file, const char *what, uint32_t dims_min,
                       uint32_t dims_max, struct brg_data_error *error) {
    const uint8_t *b = file->data;
    if (file->size_bytes < 4 || b[0] != 0 || b[1] != 0)
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "this is no IDX file: it does not begin with two zero bytes and a "
                             "type; give an IDX file of %s",
                             what);
    if (b[2] != IDX_TYPE_U8)
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "the elements are %s (0x%02x at byte 2), but unsigned bytes (0x08) "
                             "are needed",
                             type_name(b[2]), b[2]);
    if (b[3] < dims_min || b[3] > dims_max)
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "%u dimensions at byte 3 do not make %s; are the files of images "
                             "and labels swapped?",
                             b[3], what);
    return BRG_OK;
}

static int parse_one(const struct brg_data_bytes *file, const char *what, uint32_t dims_min,
                     uint32_t dims_max, struct idx *out, struct brg_data_error *error) {
    const int rc = check_magic(file, what, dims_min, dims_max, error);
    if (rc != BRG_OK) return rc;
    out->dims = file->data[3];
    const size_t header = 4 + 4 * (size_t)out->dims;
    if (file->size_bytes < header)
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "the file ends at byte %zu, inside its header of %zu; copy it again",
                             file->size_bytes, header);
    out->row_bytes = 1;
    for (uint32_t i = 0; i < out->dims; i++) {
        out->dim[i] = load_be32(file->data + 4 + 4 * (size_t)i);
        if (out->dim[i] == 0)
            return brg_data_fail(error, BRG_ECORRUPT, file->name,
                                 "dimension %" PRIu32 " is 0 at byte %" PRIu32
                                 ": there are no %s in it",
                                 i, 4 + 4 * i, what);
        if (i == 0) continue;
        out->row_bytes *= out->dim[i]; /* below 2^20 * 2^32 */
        if (out->row_bytes > BRG_DATA_INPUTS_MAX)
            return brg_data_fail(error, BRG_ECORRUPT, file->name,
                                 "one image would have over %u elements (dimension %" PRIu32
                                 " at byte %" PRIu32 "); the header is damaged",
                                 BRG_DATA_INPUTS_MAX, i, 4 + 4 * i);
    }
    const uint64_t want = header + out->dim[0] * out->row_bytes; /* below 2^53 */
    if (file->size_bytes != want)
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "the header announces %" PRIu32 " %s, %" PRIu64
                             " bytes in all, but the file has %zu; it was cut off or is damaged: "
                             "fetch it again",
                             out->dim[0], what, want, file->size_bytes);
    out->elements = file->data + header;
    return BRG_OK;
}

int brg_data_parse_idx(struct brg_data *d, const struct brg_data_bytes *images,
                       const struct brg_data_bytes *labels, struct brg_data_table *out,
                       struct brg_data_error *error) {
    struct idx x, y;
    int rc = parse_one(images, "images", 2, IDX_DIMS_MAX, &x, error);
    if (rc == BRG_OK) rc = parse_one(labels, "labels", 1, 1, &y, error);
    if (rc != BRG_OK) return rc;
    if (x.dim[0] != y.dim[0])
        return brg_data_fail(error, BRG_ECORRUPT, labels->name,
                             "there are %" PRIu32 " labels, but %" PRIu32
                             " images in %s; give the files that belong together",
                             y.dim[0], x.dim[0], images->name);
    uint8_t *wide = brg_data_alloc(d, (size_t)y.dim[0] * 4);
    if (wide == NULL)
        return brg_data_fail(error, BRG_ENOMEM, labels->name, "out of memory for the labels");
    for (size_t i = 0; i < y.dim[0]; i++) {
        const uint32_t label = y.elements[i];
        memcpy(wide + 4 * i, &label, 4);
    }
    *out = (struct brg_data_table){
        .element = BRG_DATA_U8,
        .inputs = (uint32_t)x.row_bytes,
        .part = {.count = x.dim[0], .values = x.elements, .labels = wide},
    };
    return BRG_OK;
}
