#include "model/prepare_text.h"

#include "model/data_parse.h"
#include "model/prepare_list.h"

#include <errno.h>
#include <string.h>

static int append(struct brg_text *t, const struct brg_data_bytes *text, int needs_end,
                  struct brg_data_error *error) {
    const size_t more = text->size_bytes + (size_t)needs_end;
    if (more > BRG_TEXT_BYTES_MAX - t->size_bytes)
        return brg_data_fail(error, BRG_EINVAL, text->name,
                             "the texts have over %u MiB together; give fewer",
                             (unsigned)(BRG_TEXT_BYTES_MAX >> 20));
    uint8_t *grown = realloc(t->bytes, t->size_bytes + more + 1);
    if (grown == NULL) return brg_data_fail(error, BRG_ENOMEM, text->name, "out of memory");
    t->bytes = grown;
    if (needs_end) t->bytes[t->size_bytes++] = '\n';
    if (text->size_bytes > 0) memcpy(t->bytes + t->size_bytes, text->data, text->size_bytes);
    t->size_bytes += text->size_bytes;
    t->bytes[t->size_bytes] = '\0';
    return BRG_OK;
}

static int add_file(struct brg_text *t, const char *path, struct brg_data_error *error) {
    struct brg_file_map map;
    struct brg_data unpacked;
    memset(&unpacked, 0, sizeof unpacked);
    int rc = brg_file_map_open(path, BRG_DATA_FILE_MAX, &map);
    if (rc != BRG_OK)
        return brg_data_fail(error, rc, path, "cannot be read (%s); check the path",
                             strerror(errno));
    struct brg_data_bytes text = {path, map.data, map.size_bytes};
    rc = brg_data_gunzip(&unpacked, &text, BRG_TEXT_BYTES_MAX, error);
    const int needs_end = t->size_bytes > 0 && t->bytes[t->size_bytes - 1] != '\n';
    if (rc == BRG_OK) rc = append(t, &text, needs_end, error);
    brg_data_close(&unpacked);
    brg_file_map_close(&map);
    return rc;
}

int brg_text_gather(const char *const *inputs, uint32_t count, struct brg_text *out,
                    struct brg_data_error *error) {
    struct brg_prepare_list list = {.paths = NULL};
    int rc = BRG_OK;
    *out = (struct brg_text){.bytes = NULL};
    for (uint32_t i = 0; i < count && rc == BRG_OK; i++)
        rc = brg_prepare_list_add(&list, inputs[i], error);
    for (uint32_t i = 0; i < list.count && rc == BRG_OK; i++)
        rc = add_file(out, list.paths[i], error);
    if (rc == BRG_OK && out->size_bytes == 0)
        rc = brg_data_fail(error, BRG_EINVAL, count > 0 ? inputs[0] : "", "there is no text in it");
    brg_prepare_list_clear(&list);
    if (rc == BRG_OK) return BRG_OK;
    free(out->bytes);
    *out = (struct brg_text){.bytes = NULL};
    return rc;
}
