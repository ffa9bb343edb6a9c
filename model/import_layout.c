#include "model/import_layout.h"

#include <string.h>

struct brg_llama_place brg_llama_place_of(const struct brg_model_spec *spec, uint32_t index) {
    BRG_ASSERT(spec->type == BRG_MODEL_LLAMA && index < brg_model_tensor_count(spec));
    const uint32_t last = 1 + BRG_PART_LAYER_COUNT * spec->layers;
    struct brg_llama_place p = {.layer = 0};
    if (index == 0) {
        p.part = BRG_PART_EMBEDDING;
    } else if (index >= last) {
        p.part = index == last ? BRG_PART_NORM : BRG_PART_HEAD;
    } else {
        p.layer = (index - 1) / BRG_PART_LAYER_COUNT;
        p.part = (index - 1) % BRG_PART_LAYER_COUNT;
        if (p.part == BRG_PART_Q) p.heads = spec->heads;
        if (p.part == BRG_PART_K) p.heads = spec->kv_heads;
    }
    return p;
}

void brg_llama_gguf_name(const struct brg_llama_place *place, char *out) {
    static const char *const parts[] = {"attn_norm",   "attn_q",     "attn_k",      "attn_v",
                                        "attn_output", "ffn_norm",   "ffn_gate",    "ffn_up",
                                        "ffn_down",    "token_embd", "output_norm", "output"};
    if (place->part < BRG_PART_LAYER_COUNT)
        (void)snprintf(out, BRG_TENSOR_NAME_BYTES, "blk.%u.%s.weight", place->layer,
                       parts[place->part]);
    else
        (void)snprintf(out, BRG_TENSOR_NAME_BYTES, "%s.weight", parts[place->part]);
}

/* Row `half` * head_dim / 2 + k in halves is row 2 k + half in pairs. */
static void turn(uint32_t heads, uint32_t head_dim, uint32_t cols, const float *from, float *to,
                 int to_halves) {
    const uint32_t half_rows = head_dim / 2;
    for (uint32_t h = 0; h < heads; h++) {
        const size_t first = (size_t)h * head_dim;
        for (uint32_t r = 0; r < head_dim; r++) {
            const size_t in_halves = first + r;
            const size_t in_pairs = first + 2 * (r % half_rows) + r / half_rows;
            const size_t source = to_halves ? in_pairs : in_halves;
            const size_t target = to_halves ? in_halves : in_pairs;
            memcpy(to + target * cols, from + source * cols, cols * sizeof *to);
        }
    }
}

void brg_rows_to_halves(uint32_t heads, uint32_t head_dim, uint32_t cols, const float *from,
                        float *to) {
    turn(heads, head_dim, cols, from, to, 1);
}

void brg_rows_to_pairs(uint32_t heads, uint32_t head_dim, uint32_t cols, const float *from,
                       float *to) {
    turn(heads, head_dim, cols, from, to, 0);
}
