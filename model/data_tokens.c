#include "model/data_parse.h"

#include <inttypes.h>

#define SHARD_HEADER_BYTES 1024u /* 256 x i32 */
#define SHARD_MAGIC 20240520u
#define SHARD_MAGIC_U32 20240801u /* llama 3 shards: 32-bit tokens */
#define SHARD_MAGIC_EVAL 20240522u
#define SHARD_MAGIC_MODEL 20240326u
#define SHARD_MAGIC_TOKENIZER 20240328u

int brg_data_parse_text(const struct brg_data_bytes *file, struct brg_data_table *out,
                        struct brg_data_error *error) {
    if (file->size_bytes == 0)
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "the text is empty; give a file with the text to train on");
    *out = (struct brg_data_table){
        .element = BRG_DATA_U8,
        .part = {.count = file->size_bytes, .values = file->data},
    };
    return BRG_OK;
}

/* What a first number means that is a known one but not a shard of uint16 tokens; else NULL. */
static const char *other_magic(uint32_t magic) {
    switch (magic) {
    case SHARD_MAGIC_U32: return "a shard of 32-bit tokens (20240801), but 16-bit ones are needed";
    case SHARD_MAGIC_EVAL: return "an evaluation file (20240522), not a token shard";
    case SHARD_MAGIC_MODEL: return "a model (20240326), not a token shard";
    case SHARD_MAGIC_TOKENIZER: return "a tokenizer (20240328), not a token shard";
    default: return NULL;
    }
}

static int parse_with_header(const struct brg_data_bytes *file, struct brg_data_table *out,
                             struct brg_data_error *error) {
    if (file->size_bytes < SHARD_HEADER_BYTES)
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "the shard ends at byte %zu, inside its header of %u bytes; write or "
                             "copy it again",
                             file->size_bytes, SHARD_HEADER_BYTES);
    const uint32_t version = brg_data_load_u32(file->data + 4);
    if (version != 1)
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "the header says version %" PRIu32 " at byte 4, but version 1 (uint16 "
                             "tokens) is needed; make it again with 'brigade data prepare'",
                             version);
    const uint32_t tokens = brg_data_load_u32(file->data + 8);
    const uint64_t bytes = file->size_bytes - SHARD_HEADER_BYTES;
    if (tokens == 0 || tokens > INT32_MAX)
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "the header says %" PRId32 " tokens at byte 8; make the shard again",
                             (int32_t)tokens);
    if (bytes != (uint64_t)tokens * 2)
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "the header says %" PRIu32 " tokens, which makes %" PRIu64
                             " bytes, but the file has %zu; it was cut off or is damaged: write "
                             "or copy it again",
                             tokens, (uint64_t)tokens * 2 + SHARD_HEADER_BYTES, file->size_bytes);
    out->part = (struct brg_data_part){.count = tokens, .values = file->data + SHARD_HEADER_BYTES};
    return BRG_OK;
}

int brg_data_parse_shard(const struct brg_data_bytes *file, struct brg_data_table *out,
                         struct brg_data_error *error) {
    *out = (struct brg_data_table){.element = BRG_DATA_U16};
    if (file->size_bytes >= 4) {
        const uint32_t magic = brg_data_load_u32(file->data);
        if (magic == SHARD_MAGIC) return parse_with_header(file, out, error);
        const char *other = other_magic(magic);
        if (other != NULL)
            return brg_data_fail(error, BRG_ECORRUPT, file->name,
                                 "this is %s; make shards with 'brigade data prepare'", other);
    }
    if (file->size_bytes == 0)
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "the shard is empty; make it with 'brigade data prepare'");
    if (file->size_bytes % 2 != 0)
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "%zu bytes are an odd number, but tokens have 2 bytes each; the file "
                             "was cut off, or is no shard of uint16 tokens",
                             file->size_bytes);
    out->part = (struct brg_data_part){.count = file->size_bytes / 2, .values = file->data};
    return BRG_OK;
}
