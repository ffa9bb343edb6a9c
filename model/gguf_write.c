#include "model/gguf.h"

#include <string.h>

#define HEAD_BYTES 24u

static void put(struct brg_gguf_writer *w, const void *bytes, size_t size) {
    (void)fwrite(bytes, 1, size, w->f); /* a failure is found by ferror at the end */
}

static void put_u32(struct brg_gguf_writer *w, uint32_t v) {
    put(w, &v, sizeof v);
}

static void put_u64(struct brg_gguf_writer *w, uint64_t v) {
    put(w, &v, sizeof v);
}

void brg_gguf_item(struct brg_gguf_writer *w, const void *value, size_t size_bytes) {
    put(w, value, size_bytes);
}

void brg_gguf_item_text(struct brg_gguf_writer *w, const void *bytes, size_t size_bytes) {
    put_u64(w, size_bytes);
    put(w, bytes, size_bytes);
}

static void put_key(struct brg_gguf_writer *w, const char *key, uint32_t type) {
    brg_gguf_item_text(w, key, strlen(key));
    put_u32(w, type);
    w->key_count++;
}

int brg_gguf_begin(struct brg_gguf_writer *w) {
    const uint8_t head[HEAD_BYTES] = {'G', 'G', 'U', 'F', 3};
    memset(w, 0, sizeof *w);
    w->f = open_memstream(&w->text, &w->size_bytes);
    if (w->f == NULL) return BRG_ENOMEM;
    put(w, head, sizeof head); /* the counts are filled in at the end */
    return BRG_OK;
}

void brg_gguf_put_u32(struct brg_gguf_writer *w, const char *key, uint32_t value) {
    put_key(w, key, BRG_GGUF_U32);
    put_u32(w, value);
}

void brg_gguf_put_f32(struct brg_gguf_writer *w, const char *key, float value) {
    put_key(w, key, BRG_GGUF_F32);
    put(w, &value, sizeof value);
}

void brg_gguf_put_flag(struct brg_gguf_writer *w, const char *key, uint32_t value) {
    const uint8_t byte = value != 0;
    put_key(w, key, BRG_GGUF_BOOL);
    put(w, &byte, 1);
}

void brg_gguf_put_text(struct brg_gguf_writer *w, const char *key, const char *value) {
    put_key(w, key, BRG_GGUF_TEXT);
    brg_gguf_item_text(w, value, strlen(value));
}

void brg_gguf_put_list(struct brg_gguf_writer *w, const char *key, uint32_t type, uint64_t count) {
    put_key(w, key, BRG_GGUF_LIST);
    put_u32(w, type);
    put_u64(w, count);
}

static uint32_t type_of(uint32_t dtype) {
    return dtype == BRG_WEIGHT_F32 ? 0 : dtype == BRG_WEIGHT_F16 ? 1 : 30;
}

static uint64_t aligned(uint64_t size) {
    return (size + BRG_GGUF_ALIGNMENT - 1) / BRG_GGUF_ALIGNMENT * BRG_GGUF_ALIGNMENT;
}

static void put_tensors(struct brg_gguf_writer *w, const struct brg_gguf_entry *entries,
                        uint32_t count) {
    uint64_t offset = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct brg_gguf_entry *e = &entries[i];
        const uint64_t rows = e->dims == 2 ? e->rows : 1;
        BRG_ASSERT(strlen(e->name) <= BRG_GGUF_NAME_MAX);
        brg_gguf_item_text(w, e->name, strlen(e->name));
        put_u32(w, e->dims);
        put_u64(w, e->cols);
        if (e->dims == 2) put_u64(w, e->rows);
        put_u32(w, type_of(e->dtype));
        put_u64(w, offset);
        offset = aligned(offset + rows * e->cols * brg_weight_size(e->dtype));
    }
}

void brg_gguf_drop(struct brg_gguf_writer *w) {
    if (w->f != NULL) (void)fclose(w->f);
    free(w->text);
    memset(w, 0, sizeof *w);
}

int brg_gguf_finish(struct brg_gguf_writer *w, const struct brg_gguf_entry *entries, uint32_t count,
                    char **out, size_t *size_bytes) {
    static const uint8_t zeroes[BRG_GGUF_ALIGNMENT];
    const uint64_t keys = w->key_count, tensors = count;
    *out = NULL;
    put_tensors(w, entries, count);
    if (fflush(w->f) == 0) put(w, zeroes, aligned(w->size_bytes) - w->size_bytes);
    const int lost = ferror(w->f);
    if (fclose(w->f) != 0 || lost || w->text == NULL) {
        w->f = NULL;
        brg_gguf_drop(w);
        return BRG_ENOMEM;
    }
    memcpy(w->text + 8, &tensors, sizeof tensors);
    memcpy(w->text + 16, &keys, sizeof keys);
    *out = w->text;
    *size_bytes = w->size_bytes;
    memset(w, 0, sizeof *w);
    return BRG_OK;
}
