/* hf_config.h - config.json of a Hugging Face LLaMA folder, in both directions.
 * Stateless, thread-safe. */
#ifndef BRG_MODEL_HF_CONFIG_H
#define BRG_MODEL_HF_CONFIG_H

#include "base/why.h"
#include "model/spec.h"

#define BRG_HF_CONFIG_BYTES_MAX (UINT32_C(1) << 20)
#define BRG_HF_NO_TOKEN UINT32_MAX

struct brg_hf_config {
    struct brg_model_spec spec; /* context: max_position_embeddings, cut to what a run may have */
    uint32_t bos, eos;          /* token ids; BRG_HF_NO_TOKEN: null. Of several the first */
    uint32_t dtype;             /* enum brg_weight of torch_dtype; OTHER: not said */
};

/* brg_hf_config_parse - the config in `text`; name: for sentences.
 *
 * errors: BRG_ECORRUPT not JSON, or a value of a wrong type; BRG_EINVAL a model that is not a
 *         LLaMA as Brigade computes it: another model_type or activation, biases, heads of another
 *         size than hidden_size / num_attention_heads, a rope scaling other than linear and llama3,
 *         quantized weights, or a size out of range. *why names the key */
BRG_CHECK int brg_hf_config_parse(const char *name, const uint8_t *text, size_t size_bytes,
                                  struct brg_hf_config *out, struct brg_why *why);

/* brg_hf_config_read - the same from a file. errors: also those of base/file.h */
BRG_CHECK int brg_hf_config_read(const char *path, struct brg_hf_config *out, struct brg_why *why);

/* brg_hf_config_text - config.json; reading it gives the same config, to the bit.
 * own: *out is the caller's: free(). errors: BRG_ENOMEM; *out is NULL */
BRG_CHECK int brg_hf_config_text(const struct brg_hf_config *config, char **out);

/* brg_hf_float_text - the shortest decimal number that reads back as `x`. shape: out [32] */
const char *brg_hf_float_text(float x, char *out);

#endif
