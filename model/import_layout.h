/* import_layout.h - which tensor of a llama stands at which index of Brigade's layout, what other
 * formats call it, and the two orders of rotary pairs. For model/ only. Pure.
 *
 * One head of q or k, pairs (a0 b0), (a1 b1), ...:
 *   halves       a0 a1 a2 ... b0 b1 b2 ...    Brigade, Hugging Face
 *   interleaved  a0 b0 a1 b1 a2 b2 ...        llama2.c, GGUF */
#ifndef BRG_MODEL_IMPORT_LAYOUT_H
#define BRG_MODEL_IMPORT_LAYOUT_H

#include "model/model.h"

enum brg_llama_part {
    BRG_PART_NORM1,
    BRG_PART_Q,
    BRG_PART_K,
    BRG_PART_V,
    BRG_PART_OUT,
    BRG_PART_NORM2,
    BRG_PART_GATE,
    BRG_PART_UP,
    BRG_PART_DOWN,
    BRG_PART_LAYER_COUNT,
    BRG_PART_EMBEDDING = BRG_PART_LAYER_COUNT,
    BRG_PART_NORM,
    BRG_PART_HEAD,
};

struct brg_llama_place {
    uint32_t layer; /* 0 for those outside of the layers */
    uint32_t part;  /* enum brg_llama_part */
    uint32_t heads; /* q and k: their heads; else 0 */
};

/* brg_llama_place_of - asserts: index < brg_model_tensor_count(spec) */
struct brg_llama_place brg_llama_place_of(const struct brg_model_spec *spec, uint32_t index);

/* brg_llama_gguf_name - GGUF's name of that tensor. shape: out [BRG_TENSOR_NAME_BYTES] */
void brg_llama_gguf_name(const struct brg_llama_place *place, char *out);

/* brg_rows_to_halves, brg_rows_to_pairs - put the rows of a matrix [heads * head_dim, cols] from
 * one order into the other. shape: from, to the matrix; they do not overlap */
void brg_rows_to_halves(uint32_t heads, uint32_t head_dim, uint32_t cols, const float *from,
                        float *to);
void brg_rows_to_pairs(uint32_t heads, uint32_t head_dim, uint32_t cols, const float *from,
                       float *to);

#endif
