/* export.h - a model as a file that other programs open.
 *
 *   HF       PATH/ config.json, model.safetensors, tokenizer.json, tokenizer_config.json,
 *            generation_config.json
 *   GGUF     PATH, tokenizer inside; vectors stay float32, as llama.cpp wants them
 *   LLAMA2C  PATH (float32), PATH less .bin + .tokenizer.bin, PATH less .bin + .json with the notes
 *
 * A file is written beside its name, synced and renamed; a folder is filled beside its name and
 * renamed once it is whole. The notes (run, step, digests) go into __metadata__, into keys
 * brigade.*, or into the .json. The same tensors and notes give the same bytes.
 * Not thread-safe towards the same path. */
#ifndef BRG_MODEL_EXPORT_H
#define BRG_MODEL_EXPORT_H

#include "model/import.h"

/* Where the parameters come from: called once for each tensor, in the order of the file, which is
 * not that of the layout. A caller that holds stages fetches the tensor of the stage that has it.
 *
 * shape: out [t->rows * t->cols]. Returns 0, or an error with its sentence, which ends the export
 */
struct brg_export_source {
    void *context;
    int (*read)(void *context, uint32_t index, const struct brg_model_tensor *t, float *out,
                struct brg_why *why);
};

/* What the file says about its origin; empty texts are left out. */
struct brg_export_notes {
    const char *run;         /* name */
    uint64_t step;           /* 0: left out */
    const char *data_digest; /* hex */
};

struct brg_export {
    const char *path;
    uint32_t format; /* enum brg_model_file */
    uint32_t dtype;  /* enum brg_weight of the matrices */
    const struct brg_model_spec *spec;
    const struct brg_tokenizer *tokenizer;
    struct brg_export_source source;
    struct brg_export_notes notes;
};

/* brg_export_params - a source that reads from params in Brigade's layout [param_count]. */
struct brg_export_source brg_export_params(const float *params);

/* brg_export_write - writes the model; durable on return.
 *
 * errors: BRG_EINVAL no llama; a dtype or a setting that the format cannot say; the tokenizer has
 *         more tokens than the model; a number too large for f16 or not finite; BRG_EEXIST the
 *         folder is there already; BRG_ENOMEM; those of base/file.h. Nothing is left at `path` then
 * cost:   memory for the largest tensor three times, and one pass over the parameters */
BRG_CHECK int brg_export_write(const struct brg_export *e, struct brg_why *why);

/* brg_export_format_parse - "hf", "gguf" or "llama2c". errors: BRG_EINVAL; *out untouched */
BRG_CHECK int brg_export_format_parse(const char *name, uint32_t *out);

#endif
