/* import_private.h - what the readers of the formats fill in; nobody else includes it. */
#ifndef BRG_MODEL_IMPORT_PRIVATE_H
#define BRG_MODEL_IMPORT_PRIVATE_H

#include "model/gguf.h"
#include "model/import.h"
#include "model/import_layout.h"
#include "model/safetensors.h"

/* Where one tensor of Brigade's layout lies in the files. */
struct brg_import_place {
    const uint8_t *data;
    uint32_t dtype;   /* F32, F16 or BF16 */
    uint32_t turning; /* heads whose rows stand in pairs; 0: rows stand as here */
};

struct brg_import {
    struct brg_import_info info;
    char path[BRG_FILE_PATH_BYTES];
    uint32_t count;                  /* brg_model_tensor_count */
    struct brg_import_place *places; /* [count] */
    struct brg_safetensors *files;   /* [file_count], hf */
    uint32_t file_count;
    struct brg_gguf gguf;
    struct brg_file_map map; /* llama2c */
};

/* brg_import_size - sets info.spec's count of tensors up, once the spec is known. */
BRG_CHECK int brg_import_size(struct brg_import *m, struct brg_why *why);

BRG_CHECK int brg_import_open_hf(struct brg_import *m, struct brg_why *why);
BRG_CHECK int brg_import_open_gguf(struct brg_import *m, struct brg_why *why);
BRG_CHECK int brg_import_open_llama2c(struct brg_import *m, struct brg_why *why);

/* brg_import_gguf_tokenizer - from the keys tokenizer.ggml.*. */
BRG_CHECK int brg_import_gguf_tokenizer(const struct brg_gguf *g, struct brg_tokenizer **out,
                                        struct brg_why *why);

#endif
