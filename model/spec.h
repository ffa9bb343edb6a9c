/* spec.h - what a run trains: the model, its data, the batch and the optimizer, as flat structs.
 *
 * Filled by the run file's reader and by the wire's validation, both of which check every range
 * given here, so that the code that computes may assert them. No pointers: copy with =. */
#ifndef BRG_MODEL_SPEC_H
#define BRG_MODEL_SPEC_H

#include "base/base.h"

#define BRG_MLP_HIDDEN_MAX 8u /* hidden layers of an mlp */
#define BRG_PATH_BYTES 512u   /* a path with its NUL */

/* How rotary angles are changed for contexts longer than those trained on; numbers are stored. */
enum brg_rope_scaling_type {
    BRG_ROPE_PLAIN = 0,
    BRG_ROPE_LINEAR = 1, /* every angle divided by factor */
    BRG_ROPE_LLAMA3 = 2, /* slow angles divided, fast ones kept, a ramp between */
};

/* All zeroes: none. */
struct brg_rope_scaling {
    uint32_t type;             /* enum brg_rope_scaling_type */
    float factor;              /* >= 1 */
    float low_freq, high_freq; /* llama3: 0 < low < high, turns within the original context */
    uint32_t original_context; /* llama3: >= 1 */
};

enum brg_model_type { BRG_MODEL_LLAMA = 1, BRG_MODEL_MLP = 2, BRG_MODEL_SOFTMAX = 3 };

struct brg_model_spec {
    uint32_t type; /* enum brg_model_type */
    /* llama */
    uint32_t dim, layers, heads, kv_heads, hidden, context, vocab; /* heads % kv_heads == 0 */
    uint32_t tied;                                                 /* 1: head = embedding */
    float rope_theta, norm_eps;
    struct brg_rope_scaling rope_scaling;
    /* mlp and softmax: inputs -> widths[0] -> ... -> classes, ReLU between */
    uint32_t inputs, classes;
    uint32_t width_count; /* 0 for softmax */
    uint32_t widths[BRG_MLP_HIDDEN_MAX];
};

enum brg_data_format {
    BRG_DATA_TEXT = 1,  /* bytes of a file are the tokens; vocab 256 */
    BRG_DATA_SHARD = 2, /* nanoGPT / llm.c shard of uint16 tokens */
    BRG_DATA_IDX = 3,   /* images and labels, plain or gzip */
    BRG_DATA_CSV = 4,   /* numbers, the label last; plain or gzip */
};

struct brg_data_spec {
    uint32_t format; /* enum brg_data_format */
    char train[BRG_PATH_BYTES];
    char train_labels[BRG_PATH_BYTES]; /* IDX only */
    char test[BRG_PATH_BYTES];         /* empty: cut `held_out` from the end of train */
    char test_labels[BRG_PATH_BYTES];
    double held_out; /* share of the end of `train`, [0, 0.5] */
};

struct brg_batch_spec {
    uint32_t samples;    /* sequences or rows in the global batch, >= chunks */
    uint32_t chunks;     /* fixed parts of the batch, 1 .. 1024 */
    uint32_t microbatch; /* samples computed at once, >= 1; cancellation happens between them */
};

enum brg_optimizer_type { BRG_OPTIMIZER_SGD = 1, BRG_OPTIMIZER_ADAMW = 2 };
enum brg_schedule_type { BRG_SCHEDULE_CONSTANT = 1, BRG_SCHEDULE_COSINE = 2 };

struct brg_optimizer_spec {
    uint32_t type;     /* enum brg_optimizer_type */
    uint32_t schedule; /* enum brg_schedule_type */
    uint64_t warmup_steps, total_steps;
    float lr, lr_min_ratio; /* cosine ends at lr * lr_min_ratio */
    float beta1, beta2, eps, weight_decay, momentum;
    float clip; /* global norm, 0 = none */
};

#endif
