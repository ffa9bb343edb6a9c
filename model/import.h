/* import.h - a published model as parameters in Brigade's layout.
 *
 *   DIR with config.json, model.safetensors (or an index and its files), tokenizer.json ─┐
 *   FILE.bin of llama2.c, FILE.tokenizer.bin or tokenizer.bin beside it ─────────────────┼─► spec,
 *   FILE.gguf, F32, F16 or BF16 ─────────────────────────────────────────────────────────┘  params
 *
 *   brg_import_open: maps and checks everything: each tensor of the model is there, with its shape
 *   brg_import_load: widens to float32, puts rotary rows into halves
 *
 * Names, shapes and types are all checked at open, so that load cannot fail over them. What Brigade
 * cannot compute (biases, other families, quantized tensors) is refused by name.
 * An import once opened is read-only: any number of threads may load from it. */
#ifndef BRG_MODEL_IMPORT_H
#define BRG_MODEL_IMPORT_H

#include "base/why.h"
#include "model/model.h"
#include "model/tokenizer.h"

#define BRG_IMPORT_FILES_MAX 1024u /* safetensors files of one model */

/* The formats of published models; also those of exports. */
enum brg_model_file { BRG_FILE_HF = 1, BRG_FILE_GGUF = 2, BRG_FILE_LLAMA2C = 3 };

struct brg_import_info {
    uint32_t format;            /* enum brg_model_file */
    uint32_t dtype;             /* enum brg_weight of the embedding as stored */
    struct brg_model_spec spec; /* context: the longest that the model says it was made for; may
                                 * be lowered, parameters do not depend on it */
    uint32_t bos, eos;          /* as the model's config says; BRG_TOKEN_NONE: not said */
    uint64_t param_count;
};

struct brg_import;

/* brg_import_open - opens the model at `path`, a folder or a file.
 *
 * own:    *out is the caller's, brg_import_close; NULL after an error. The files stay mapped:
 *         replace them by renaming, never in place, while it is open
 * errors: those of base/file.h; BRG_ECORRUPT a file is damaged, or a tensor is missing or of
 *         another shape; BRG_EINVAL a model that cannot be computed; BRG_ENOMEM. *why says which
 *         file, tensor or key
 * cost:   reads headers only */
BRG_CHECK int brg_import_open(const char *path, struct brg_import **out, struct brg_why *why);

/* brg_import_info_of - what it is. */
void brg_import_info_of(const struct brg_import *m, struct brg_import_info *out);

/* brg_import_tensor - tensor `index` of Brigade's layout (brg_model_tensor of the import's spec)
 * as float32: for a stage that holds some of the model.
 *
 * shape:  out [rows * cols of that tensor]
 * errors: BRG_ENOMEM; BRG_ECORRUPT a number in it is not finite */
BRG_CHECK int brg_import_tensor(const struct brg_import *m, uint32_t index, float *out,
                                struct brg_why *why);

/* brg_import_load - all tensors, as brg_model_tensor places them. shape: params [param_count]
 * errors: as brg_import_tensor */
BRG_CHECK int brg_import_load(const struct brg_import *m, float *params, struct brg_why *why);

/* brg_import_tokenizer - the tokenizer that came with it.
 * own: *out is the caller's. errors: BRG_ENOENT there is none; else as brg_tokenizer_open */
BRG_CHECK int brg_import_tokenizer(const struct brg_import *m, struct brg_tokenizer **out,
                                   struct brg_why *why);

void brg_import_close(struct brg_import *m);

#endif
