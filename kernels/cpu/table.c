/* table.c - the fast table of one instruction set. */
#include "kernels/cpu/fast.h"
#include "kernels/cpu/tables.h"

#define BRG_TEXT2(x) #x
#define BRG_TEXT(x) BRG_TEXT2(x)

const struct brg_kernels BRG_PASTE(brg_kernels, BRG_ISA) = {
    .name = BRG_TEXT(BRG_ISA),
    .sgemm = brg_sgemm_dnnl,
    .rmsnorm = BRG_FAST(rmsnorm),
    .rmsnorm_grad = BRG_FAST(rmsnorm_grad),
    .rope = BRG_FAST(rope),
    .attention = BRG_FAST(attention),
    .attention_grad = BRG_FAST(attention_grad),
    .swiglu = BRG_FAST(swiglu),
    .swiglu_grad = BRG_FAST(swiglu_grad),
    .embed = BRG_FAST(embed),
    .embed_grad = BRG_FAST(embed_grad),
    .cross_entropy = BRG_FAST(cross_entropy),
    .bias = BRG_FAST(bias),
    .bias_grad = BRG_FAST(bias_grad),
    .relu = BRG_FAST(relu),
    .relu_grad = BRG_FAST(relu_grad),
    .add = BRG_FAST(add),
    .scale = BRG_FAST(scale),
    .norm2 = BRG_FAST(norm2),
    .adamw = BRG_FAST(adamw),
    .sgd = BRG_FAST(sgd),
    .combine = BRG_FAST(combine),
    .to_bf16 = BRG_FAST(to_bf16),
    .from_bf16 = BRG_FAST(from_bf16),
    .to_int8 = BRG_FAST(to_int8),
    .from_int8 = BRG_FAST(from_int8),
};
