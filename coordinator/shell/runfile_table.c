/* runfile_table.c - all keys of a run file: type, range, default, meaning. Whoever adds a key adds
 * a row here, a field in runfile.h, and runs the test of docs/CONFIG.md with --write. */
#include "coordinator/shell/runfile_private.h"

#include "coordinator/core/pipeline.h"
#include "proto/messages.h"
#include "recovery/shadow.h"

#define FIELD(member) offsetof(struct brg_run_config, member)
#define BIT(number) (UINT32_C(1) << (number))
#define LLAMA BIT(BRG_MODEL_LLAMA)
#define CLASSIFIER (BIT(BRG_MODEL_MLP) | BIT(BRG_MODEL_SOFTMAX))
#define SCALED (BIT(BRG_ROPE_LINEAR) | BIT(BRG_ROPE_LLAMA3))
#define CODED BIT(BRG_RUN_KIND_CODED)
#define LINE BIT(BRG_RUN_KIND_PIPELINE)
#define SECONDS(n) ((double)(n)*1e9)
#define MICROBATCHES_MAX 256 /* of a pipeline: objects of held-out ones are numbered from there */
#define SEVERAL_MODELS (BIT(BRG_MODELS_MAX + 1) - BIT(2)) /* 2 .. BRG_MODELS_MAX */
#define SEQUENTIAL (BIT(BRG_CODE_SR_SGC) | BIT(BRG_CODE_M_SGC))
#define CHOSEN                                                                                     \
    (BIT(BRG_CODE_NONE) | BIT(BRG_CODE_FRC) | BIT(BRG_CODE_CYCLIC) | SEQUENTIAL |                  \
     BIT(BRG_CODE_SPECULATIVE))

static const struct choice kinds[] = {
    {"coded", BRG_RUN_KIND_CODED, NULL},
    {"pipeline", BRG_RUN_KIND_PIPELINE, NULL},
    {"berrut", 0, "is not available in this version: use kind: coded"},
    {"grid", 0, "is not available in this version: use kind: coded"},
    {NULL, 0, NULL},
};
static const struct choice wires[] = {{"f32", BRG_RUN_WIRE_F32, NULL},
                                      {"bf16", BRG_RUN_WIRE_BF16, NULL},
                                      {"int8", BRG_RUN_WIRE_INT8, NULL},
                                      {NULL, 0, NULL}};
static const struct choice rungs[] = {
    {"replica", BRG_RUNG_REPLICA, NULL},
    {"shadow", BRG_RUNG_SHADOW, NULL},
    {"parity", BRG_RUNG_PARITY, NULL},
    {"neighbours", BRG_RUNG_NEIGHBOURS, NULL},
    {"neighbors", 0, "is spelled neighbours here"},
    {"checkpoint", BRG_RUNG_CHECKPOINT, NULL},
    {"random", BRG_RUNG_RANDOM, NULL},
    {NULL, 0, NULL},
};
static const struct choice durabilities[] = {
    {"step", BRG_DURABILITY_STEP, NULL},
    {"checkpoint", BRG_DURABILITY_CHECKPOINT, NULL},
    {NULL, 0, NULL},
};
static const struct choice models[] = {
    {"llama", BRG_MODEL_LLAMA, NULL},
    {"mlp", BRG_MODEL_MLP, NULL},
    {"softmax", BRG_MODEL_SOFTMAX, NULL},
    {"cnn", 0, "is not available in this version: use mlp or softmax"},
    {NULL, 0, NULL},
};
static const struct choice scalings[] = {{"none", BRG_ROPE_PLAIN, NULL},
                                         {"linear", BRG_ROPE_LINEAR, NULL},
                                         {"llama3", BRG_ROPE_LLAMA3, NULL},
                                         {NULL, 0, NULL}};
static const struct choice formats[] = {
    {"text", BRG_DATA_TEXT, NULL},
    {"shard", BRG_DATA_SHARD, NULL},
    {"idx", BRG_DATA_IDX, NULL},
    {"csv", BRG_DATA_CSV, NULL},
    {NULL, 0, NULL},
};
static const struct choice optimizers[] = {
    {"adamw", BRG_OPTIMIZER_ADAMW, NULL}, {"sgd", BRG_OPTIMIZER_SGD, NULL}, {NULL, 0, NULL}};
static const struct choice schedules[] = {{"constant", BRG_SCHEDULE_CONSTANT, NULL},
                                          {"cosine", BRG_SCHEDULE_COSINE, NULL},
                                          {NULL, 0, NULL}};
static const struct choice schemes[] = {
    {"frc", BRG_CODE_FRC, NULL},
    {"none", BRG_CODE_NONE, NULL},
    {"cyclic", BRG_CODE_CYCLIC, NULL},
    {"sr-sgc", BRG_CODE_SR_SGC, NULL},
    {"m-sgc", BRG_CODE_M_SGC, NULL},
    {"speculative", BRG_CODE_SPECULATIVE, NULL},
    {"auto", BRG_RUN_SCHEME_AUTO, NULL},
    {"dct", 0, "is not available in this version: use frc"},
    {NULL, 0, NULL},
};
static const struct choice bases[] = {
    {"repetition", BRG_BASE_REPETITION, NULL}, {"cyclic", BRG_BASE_CYCLIC, NULL}, {NULL, 0, NULL}};
static const struct choice rules[] = {
    {"weakest", BRG_RULE_WEAKEST, NULL}, {"model", BRG_RULE_MODEL, NULL}, {NULL, 0, NULL}};
static const struct choice aims[] = {
    {"time", BRG_MINIMISE_TIME, NULL}, {"cost", BRG_MINIMISE_COST, NULL}, {NULL, 0, NULL}};
static const struct choice policies[] = {{"early", BRG_POLICY_EARLY, NULL},
                                         {"minwait", BRG_POLICY_MINWAIT, NULL},
                                         {"paper", BRG_POLICY_PAPER, NULL},
                                         {NULL, 0, NULL}};

const struct section brg_runfile_sections[] = {
    {"", NULL, "The run as a whole; these keys stand at the top of the file."},
    {"model", NULL,
     "What is trained. With `from` the other keys need not be given: they are those of that "
     "model."},
    {"data", NULL, "What it is trained on. Relative paths are seen from the run file's folder."},
    {"batch", NULL, "The global batch of one step; it is the same whoever answers."},
    {"optimizer", NULL, "How a step changes the parameters."},
    {"sweep", NULL, "What the models of a run differ in, where there are several."},
    {"code", NULL,
     "How the work is spread, so that a step need not wait for stragglers. `code: auto` is short "
     "for `code: {scheme: auto}`."},
    {"timeouts", NULL,
     "When the coordinator stops waiting. When a silent worker counts as lost is not a run's but "
     "the "
     "coordinator's to say: its --lease and --beat."},
    {"checkpoint", NULL, "What a restart begins from; the log since then is replayed."},
    {"eval", NULL, "The loss on held-out data."},
    {"pipeline", NULL,
     "The model cut into stages, one behind the other, each on a worker of its own: `kind: "
     "pipeline`."},
    {"recovery", NULL,
     "How a stage comes back whose last worker is lost: docs/RECOVERY.md has what each way costs, "
     "measured."},
    {"verify", "is not available in this version: remove the section", NULL},
    {NULL, NULL, NULL},
};

/* clang-format off: a row is easier to read where every row has the same shape. */
const struct key brg_runfile_keys[] = {
    {"", "run", KEY_NAME, FIELD(name), 0, 0, NULL, NULL, NULL, NULL, 0,
     "Name of the run, in commands, logs and file names."},
    {"", "kind", KEY_CHOICE, FIELD(kind), 0, 0, kinds, "coded", NULL, NULL, 0,
     "How the workers share the work. coded: each worker has the whole model, and the coordinator "
     "decodes exact gradients from the shares that arrive first. pipeline: each worker has one "
     "stage "
     "of a llama and passes activations on; a stage that is lost comes back by section recovery."},
    {"", "steps", KEY_NUMBER, FIELD(steps), 1, 1e9, NULL, NULL, NULL, NULL, 0,
     "Optimizer steps of each model until the run is finished."},
    {"", "seed", KEY_NUMBER, FIELD(seed), 0, 0, NULL, "1", NULL, NULL, 0,
     "Decides first parameters and the order of the data; the same seed gives the same model, bit "
     "for bit."},
    {"", "workers", KEY_COUNT, FIELD(workers), 1, BRG_CODE_WORKERS_MAX, NULL, NULL,
     "8, or batch.chunks if that is less", "kind", CODED,
     "Positions that the code is laid out for. Fewer or more workers may take part: a vacant "
     "position counts as a straggler, workers beyond it are spares."},
    {"", "min_workers", KEY_COUNT, FIELD(min_workers), 1, BRG_CODE_WORKERS_MAX, NULL, NULL,
     "the number of shares that a step needs", "kind", CODED,
     "The first step begins when that many workers are there."},
    {"", "models", KEY_COUNT, FIELD(models), 1, BRG_MODELS_MAX, NULL, "1", NULL, NULL, 0,
     "Models trained in turn by the same workers, such as a sweep of seeds or learning rates: "
     "step 1 is model 0's, step 2 model 1's and so on. A code that finishes a step T rounds late "
     "needs T + 1 of them."},
    {"", "durability", KEY_CHOICE, FIELD(durability), 0, 0, durabilities, "step", NULL, "kind",
     CODED,
     "step: a step is on disk before anybody sees it, and no crash loses one. checkpoint: a "
     "restart goes back to the last checkpoint; saves writing one gradient a step."},

    {"model", "from", KEY_PATH, FIELD(model_from), 0, 0, NULL, NULL,
     "none: the first parameters are drawn by the seed", NULL, 0,
     "A model to start from: a Hugging Face folder of a LLaMA, a GGUF file that is not quantized, "
     "or a .bin of llama2.c (docs/FORMATS.md). Its sizes and its tokenizer become the run's; of "
     "the other keys of this section only context may differ, downwards. It is copied into the "
     "run's folder when the run is opened."},
    {"model", "type", KEY_CHOICE, FIELD(model.type), 0, 0, models, NULL, NULL, NULL, 0,
     "llama: decoder with RMSNorm, RoPE and SwiGLU. mlp: classifier with ReLU layers. softmax: "
     "linear classifier."},
    {"model", "dim", KEY_COUNT, FIELD(model.dim), 2, 65536, NULL, NULL, NULL, "model.type", LLAMA,
     "Width of the residual stream; a multiple of heads."},
    {"model", "layers", KEY_COUNT, FIELD(model.layers), 1, 1024, NULL, NULL, NULL, "model.type",
     LLAMA, "Decoder layers."},
    {"model", "heads", KEY_COUNT, FIELD(model.heads), 1, 1024, NULL, NULL, NULL, "model.type",
     LLAMA, "Attention heads; dim / heads must be even, for the rotary embedding."},
    {"model", "kv_heads", KEY_COUNT, FIELD(model.kv_heads), 1, 1024, NULL, NULL, "heads",
     "model.type", LLAMA, "Heads of keys and values; a divisor of heads."},
    {"model", "hidden", KEY_COUNT, FIELD(model.hidden), 8, 1048576, NULL, NULL,
     "8/3 dim, up to the next multiple of 32", "model.type", LLAMA,
     "Width of the feed-forward layers; a multiple of 8 (of 32 if exports are to be quantised)."},
    {"model", "context", KEY_COUNT, FIELD(model.context), 1, 65536, NULL, NULL, NULL, "model.type",
     LLAMA, "Tokens in a sequence."},
    {"model", "vocab", KEY_VOCAB, FIELD(model.vocab), 2, 65536, NULL, "bytes", NULL, "model.type",
     LLAMA, "bytes: the 256 byte values. A number: tokens of the shards in data.train."},
    {"model", "tied", KEY_BOOL, FIELD(model.tied), 0, 1, NULL, NULL,
     "true; false where pipeline.stages is above 1", "model.type", LLAMA,
     "true: the output layer shares the weights of the token embedding, which a pipeline of "
     "several "
     "stages cannot: they lie on two workers."},
    {"model", "rope_theta", KEY_REAL, FIELD(model.rope_theta), 1, 1e9, NULL, "10000", NULL,
     "model.type", LLAMA, "Base of the rotary embedding."},
    {"model", "rope_scaling", KEY_CHOICE, FIELD(model.rope_scaling.type), 0, 0, scalings, "none",
     NULL, "model.type", LLAMA,
     "How rotary angles are changed for long contexts. linear: all divided by rope_factor. llama3: "
     "only the slow ones."},
    {"model", "rope_factor", KEY_REAL, FIELD(model.rope_scaling.factor), 1, 1e6, NULL, NULL, NULL,
     "model.rope_scaling", SCALED, "What the angles are divided by."},
    {"model", "rope_low_freq", KEY_REAL, FIELD(model.rope_scaling.low_freq), 1e-6, 1e6, NULL, NULL,
     NULL, "model.rope_scaling", BIT(BRG_ROPE_LLAMA3),
     "Angles with fewer turns than this within rope_original_context are divided."},
    {"model", "rope_high_freq", KEY_REAL, FIELD(model.rope_scaling.high_freq), 1e-6, 1e6, NULL,
     NULL, NULL, "model.rope_scaling", BIT(BRG_ROPE_LLAMA3),
     "Angles with more turns than this are kept; between the two lies a ramp."},
    {"model", "rope_original_context", KEY_COUNT, FIELD(model.rope_scaling.original_context), 1,
     16777216, NULL, NULL, NULL, "model.rope_scaling", BIT(BRG_ROPE_LLAMA3),
     "Tokens of context before the scaling."},
    {"model", "norm_eps", KEY_REAL, FIELD(model.norm_eps), 1e-12, 0.1, NULL, "1e-05", NULL,
     "model.type", LLAMA, "Added to the mean square in RMSNorm."},
    {"model", "inputs", KEY_COUNT, FIELD(model.inputs), 1, 1048576, NULL, NULL, NULL, "model.type",
     CLASSIFIER, "Numbers in a row of the data, such as 784 pixels."},
    {"model", "classes", KEY_COUNT, FIELD(model.classes), 2, 65536, NULL, NULL, NULL, "model.type",
     CLASSIFIER, "Classes; labels are 0 .. classes - 1."},
    {"model", "hidden", KEY_WIDTHS, FIELD(model.widths), 1, 1048576, NULL, NULL, NULL, "model.type",
     BIT(BRG_MODEL_MLP), "Widths of the hidden layers, first to last: [128, 64]."},

    {"data", "train", KEY_PATH, FIELD(data.train), 0, 0, NULL, NULL, NULL, NULL, 0,
     "File to train on."},
    {"data", "format", KEY_CHOICE, FIELD(data.format), 0, 0, formats, NULL,
     "told by model and file name: text for vocab: bytes, shard for other vocabularies, idx for "
     "*ubyte and *ubyte.gz, else csv",
     NULL, 0,
     "text: the file's bytes. shard: nanoGPT or llm.c tokens, uint16. idx: images and labels. csv: "
     "numbers with the label last. idx and csv may be gzip files."},
    {"data", "train_labels", KEY_PATH, FIELD(data.train_labels), 0, 0, NULL, NULL,
     "none; needed for idx", "model.type", CLASSIFIER, "File with the labels of train, idx only."},
    {"data", "test", KEY_PATH, FIELD(data.test), 0, 0, NULL, NULL, "none: see held_out", NULL, 0,
     "File with held-out data, in the format of train."},
    {"data", "test_labels", KEY_PATH, FIELD(data.test_labels), 0, 0, NULL, NULL,
     "none; needed for idx with test", "model.type", CLASSIFIER,
     "File with the labels of test, idx only."},
    {"data", "held_out", KEY_SHARE_F64, FIELD(data.held_out), 0, 0.5, NULL, NULL,
     "5%, or 0% with test", NULL, 0,
     "Share of the end of train that is kept for evaluation and never trained on."},

    {"batch", "sequences", KEY_COUNT, FIELD(batch.samples), 1, 1048576, NULL, NULL, NULL,
     "model.type", LLAMA, "Sequences in the global batch of a step."},
    {"batch", "samples", KEY_COUNT, FIELD(batch.samples), 1, 16777216, NULL, NULL, NULL,
     "model.type", CLASSIFIER, "Rows in the global batch of a step."},
    {"batch", "chunks", KEY_COUNT, FIELD(batch.chunks), 1, BRG_CHUNKS_MAX, NULL, NULL,
     "workers, or the fewest that the code can deal; pipelines: pipeline.microbatches", NULL, 0,
     "Parts that the batch is cut into; the code deals them to the workers. Pipelines: another "
     "name "
     "for pipeline.microbatches. At least one for each "
     "share of a step; a multiple of workers for cyclic, of workers (b + (w - 1) (lambda + 1)) for "
     "m-sgc with lambda below workers. auto has more codes to choose from with more of them."},
    {"batch", "microbatch", KEY_COUNT, FIELD(batch.microbatch), 1, 16777216, NULL, NULL,
     "a chunk, at most 8 sequences or 256 rows", "kind", CODED,
     "Samples computed at once: bounds a worker's memory, and a worker can turn to newer work "
     "between two of them."},

    {"optimizer", "type", KEY_CHOICE, FIELD(optimizer.type), 0, 0, optimizers, "adamw", NULL, NULL,
     0, "adamw: Adam with decoupled weight decay. sgd: gradient descent with momentum."},
    {"optimizer", "schedule", KEY_CHOICE, FIELD(optimizer.schedule), 0, 0, schedules, "constant",
     NULL, NULL, 0, "How the learning rate goes on after the warm-up. cosine: down to lr_min."},
    {"optimizer", "lr", KEY_REAL, FIELD(optimizer.lr), 1e-12, 1000, NULL, NULL, NULL, NULL, 0,
     "Learning rate, such as 3e-3."},
    {"optimizer", "lr_min", KEY_SHARE, FIELD(optimizer.lr_min_ratio), 0, 1, NULL, "10%", NULL,
     "optimizer.schedule", BIT(BRG_SCHEDULE_COSINE), "Where cosine ends, as a share of lr."},
    {"optimizer", "warmup", KEY_NUMBER, FIELD(optimizer.warmup_steps), 0, 1e9, NULL, "0", NULL,
     NULL, 0, "Steps in which the learning rate rises from near 0 to lr."},
    {"optimizer", "beta1", KEY_REAL, FIELD(optimizer.beta1), 0, 0.9999999, NULL, "0.9", NULL,
     "optimizer.type", BIT(BRG_OPTIMIZER_ADAMW), "Decay of the mean gradient."},
    {"optimizer", "beta2", KEY_REAL, FIELD(optimizer.beta2), 0, 0.9999999, NULL, "0.999", NULL,
     "optimizer.type", BIT(BRG_OPTIMIZER_ADAMW), "Decay of the mean squared gradient."},
    {"optimizer", "eps", KEY_REAL, FIELD(optimizer.eps), 1e-16, 1, NULL, "1e-08", NULL,
     "optimizer.type", BIT(BRG_OPTIMIZER_ADAMW), "Added to the root of the mean square."},
    {"optimizer", "momentum", KEY_REAL, FIELD(optimizer.momentum), 0, 0.9999999, NULL, "0.9", NULL,
     "optimizer.type", BIT(BRG_OPTIMIZER_SGD), "Share of the last change that is kept; 0: none."},
    {"optimizer", "weight_decay", KEY_REAL, FIELD(optimizer.weight_decay), 0, 10, NULL, "0", NULL,
     NULL, 0, "Pulls the weights towards 0; 0.01 to 0.1 is usual with adamw."},
    {"optimizer", "clip", KEY_REAL, FIELD(optimizer.clip), 0, 1e9, NULL, "1", NULL, NULL, 0,
     "Longest allowed gradient (global norm); 0 turns clipping off."},

    {"sweep", "seed", KEY_SEEDS, FIELD(sweep.seed), 0, 0, NULL, NULL,
     "seed + the model's number; seed for all where another key of this section is given", "models",
     SEVERAL_MODELS, "Of each model: decides its first parameters."},
    {"sweep", "data_seed", KEY_SEEDS, FIELD(sweep.data_seed), 0, 0, NULL, NULL, "sweep.seed",
     "models", SEVERAL_MODELS, "Of each model: decides the order in which it sees the data."},
    {"sweep", "lr", KEY_RATES, FIELD(sweep.lr), 1e-12, 1000, NULL, NULL, "optimizer.lr for all",
     "models", SEVERAL_MODELS, "Of each model: its learning rate, in place of optimizer.lr."},

    {"code", "scheme", KEY_CHOICE, FIELD(scheme), 0, 0, schemes, "frc", NULL, "kind", CODED,
     "frc: groups of s + 1 workers or more repeat the same chunks; exact to the last bit. cyclic: "
     "chunks overlap in a ring; exact but for rounding. none: every worker is waited for. "
     "speculative: nothing is repeated beforehand, late work goes to idle workers. sr-sgc: late "
     "work is repeated in a later round. m-sgc: each step is spread over several rounds. auto: "
     "measures the workers first, then takes the code that is best for them, and looks again when "
     "they change."},
    {"code", "minimise", KEY_CHOICE, FIELD(minimise), 0, 0, aims, "time", NULL, "code.scheme",
     BIT(BRG_RUN_SCHEME_AUTO),
     "What auto looks for. time: an early end. cost: few worker-seconds."},
    {"code", "s", KEY_COUNT, FIELD(code.s), 0, BRG_CODE_WORKERS_MAX - 1, NULL, NULL,
     "1, or 0 with one worker", "code.scheme", BIT(BRG_CODE_FRC) | BIT(BRG_CODE_CYCLIC),
     "Stragglers or dead workers that a step never waits for. Each worker does s + 1 times the "
     "work it would do without a code."},
    {"code", "b", KEY_COUNT, FIELD(code.b), 1, BRG_MODELS_MAX, NULL, "1", NULL, "code.scheme",
     SEQUENTIAL,
     "Burst: rounds in a row that one worker may be late in. sr-sgc finishes a step b rounds "
     "late."},
    {"code", "w", KEY_COUNT, FIELD(code.w), 2, 1000, NULL, NULL, "b + 1", "code.scheme", SEQUENTIAL,
     "Window of rounds in which a worker has at most one burst; more than b. sr-sgc: a multiple "
     "of b, plus 1. m-sgc finishes a step w - 2 + b rounds late."},
    {"code", "lambda", KEY_COUNT, FIELD(code.lambda), 0, BRG_CODE_WORKERS_MAX, NULL, NULL,
     "m-sgc: workers, for which no coding is needed; sr-sgc: (w - 1) / b + 1", "code.scheme",
     SEQUENTIAL, "Workers that may be late within one window."},
    {"code", "base", KEY_CHOICE, FIELD(code.base), 0, 0, bases, "repetition", NULL, "code.scheme",
     SEQUENTIAL,
     "The code that late work is saved by. repetition: as frc, exact to the last bit. cyclic: as "
     "published."},
    {"code", "parts", KEY_COUNT, FIELD(code.parts), 1, 8, NULL, "1", NULL, "code.scheme",
     BIT(BRG_CODE_NONE) | BIT(BRG_CODE_FRC) | BIT(BRG_CODE_SPECULATIVE),
     "Shares that a worker's work is cut into: what a late worker has finished counts, and only "
     "the rest is attempted again. More shares to send."},
    {"code", "delay", KEY_COUNT, FIELD(code.delay), 0, 1, NULL, "0", NULL, "code.scheme",
     BIT(BRG_CODE_FRC),
     "1: what a step lacks at the end of its round is attempted again in the next round, beside "
     "the next model's step."},
    {"code", "rule", KEY_CHOICE, FIELD(code.rule), 0, 0, rules, "weakest", NULL, "code.scheme",
     SEQUENTIAL | BIT(BRG_CODE_CYCLIC) | BIT(BRG_CODE_FRC),
     "What must hold for a round to end. weakest: nothing in flight is lost. model: the workers "
     "that are late also fit the published model of stragglers."},
    {"code", "policy", KEY_CHOICE, FIELD(code.policy), 0, 0, policies, NULL,
     "early; minwait for codes that finish a step late", "code.scheme", CHOSEN,
     "When a round ends. early: at the first instant the step can be decoded. minwait: not before "
     "1 + mu times the fastest answer. paper: at that instant if it can be decoded, else with "
     "everybody."},
    {"code", "mu", KEY_MILLIONTH, FIELD(code.mu_ppm), 0, 100, NULL, "1", NULL, "code.policy",
     BIT(BRG_POLICY_MINWAIT) | BIT(BRG_POLICY_PAPER),
     "How much longer than the fastest answer minwait and paper wait, and how much longer "
     "speculative bears with a worker; 1: twice as long."},
    {"code", "seed", KEY_NUMBER, FIELD(code.seed), 0, 0, NULL, NULL, "seed", "code.scheme",
     BIT(BRG_CODE_CYCLIC) | SEQUENTIAL, "Of the random matrix of cyclic codes."},

    {"timeouts", "task", KEY_DURATION, FIELD(timeouts.task_ns), SECONDS(0.01), SECONDS(604800),
     NULL, "60s", NULL, "kind", CODED,
     "Work not done after this is also given to somebody else, although its worker lives."},
    {"timeouts", "pull", KEY_DURATION, FIELD(timeouts.pull_ns), SECONDS(0.01), SECONDS(604800),
     NULL, "30s", NULL, "kind", CODED,
     "A share that was asked for and is not here after this is asked for again."},
    {"timeouts", "round_patience", KEY_DURATION, FIELD(timeouts.round_patience_ns), 0,
     SECONDS(604800), NULL, "0s", NULL, "kind", CODED,
     "What a step still needs after this is given to somebody else, although its workers live. "
     "0s: twice the fastest answer of the step."},

    {"checkpoint", "every", KEY_NUMBER, FIELD(checkpoint.every_steps), 1, 1e9, NULL, "50", NULL,
     "kind", CODED, "Steps of each model between checkpoints."},
    {"checkpoint", "every", KEY_NUMBER, FIELD(checkpoint.every_steps), 0, 1e9, NULL, "0", NULL,
     "kind", LINE,
     "Steps between checkpoints. 0: by Young's formula, out of what a checkpoint and a step are "
     "measured to take and of the rate at which stages were lost in this run, one a day before any "
     "was."},
    {"checkpoint", "keep", KEY_COUNT, FIELD(checkpoint.keep), 1, 1000, NULL, "3", NULL, NULL, 0,
     "Newest checkpoints that are kept; older ones are deleted."},
    {"checkpoint", "dir", KEY_PATH, FIELD(checkpoint.dir), 0, 0, NULL, NULL,
     "a folder of the run in the coordinator's store", NULL, 0,
     "Folder in which the run's checkpoints get a folder of their own, run-NUMBER; relative to the "
     "run "
     "file's folder."},

    {"eval", "every", KEY_NUMBER, FIELD(eval.every_steps), 0, 1e9, NULL, NULL,
     "50, or 0 without held-out data", NULL, 0,
     "Steps of a model between looks at the held-out data; 0: never."},
    {"eval", "samples", KEY_NUMBER, FIELD(eval.samples), 1, 1e9, NULL, "256", NULL, "kind", CODED,
     "Held-out sequences or rows looked at each time, at most all."},
    {"eval", "samples", KEY_NUMBER, FIELD(eval.samples), 1, 1e9, NULL, NULL,
     "256, but at most 64 microbatches", "kind", LINE,
     "Held-out sequences looked at each time, at most all; they go down the line in microbatches "
     "before the step's own."},

    {"pipeline", "stages", KEY_COUNT, FIELD(pipeline.stages), 1, BRG_LADDER_STAGES_MAX, NULL, NULL,
     NULL, "kind", LINE,
     "Stages that the model is cut into, at most its layers. The first has the embedding, the last "
     "the norm and the head. Another number may be given when a paused run is resumed."},
    {"pipeline", "replicas", KEY_COUNT, FIELD(pipeline.lanes), 1, BRG_PIPE_LANES_MAX, NULL, "1",
     NULL, "kind", LINE,
     "Workers that hold each stage, if there are enough; each works on its share of the "
     "microbatches. Workers beyond stages x replicas are spares."},
    {"pipeline", "microbatches", KEY_COUNT, FIELD(pipeline.microbatches), 1, MICROBATCHES_MAX, NULL,
     NULL,
     "batch.chunks; else the most that cut the batch and the replicas evenly, up to 4 x stages or "
     "8",
     "kind", LINE,
     "Parts of the batch that follow each other down the line; at least replicas. With m of them "
     "and s stages a worker idles (s - 1) / (m + s - 1) of a step."},
    {"pipeline", "wire", KEY_CHOICE, FIELD(pipeline.wire), 0, 0, wires, "f32", NULL, "kind", LINE,
     "How activations and their gradients travel. f32: to the bit. bf16: half of that. int8: a "
     "quarter, in blocks with a scale each. The error that rounding makes is reported."},
    {"pipeline", "step_timeout", KEY_TIMEOUT, FIELD(pipeline.step_timeout_ns), SECONDS(0.1),
     SECONDS(604800), NULL, "auto", NULL, "kind", LINE,
     "To be: a worker that has not finished its part of a step after this is replaced. Runs take "
     "auto only, by which one that is silent for a lease is replaced, and one that hangs is not."},

    {"recovery", "ladder", KEY_LADDER, FIELD(recovery.ladder), 0, 0, rungs, NULL,
     "[replica, shadow, parity, neighbours, checkpoint]", "kind", LINE,
     "Ways in which a lost stage comes back: the first that is possible is taken. replica: from "
     "another holder, exact. shadow: its own stale copy. parity: out of the XOR of its group, "
     "which workers do not keep yet, so it is passed over. neighbours: a mix of other stages. "
     "checkpoint: the whole run goes back. random: a fresh start, for comparison."},
    {"recovery", "shadow_every", KEY_COUNT, FIELD(recovery.shadow_every), 1, BRG_SHADOW_EVERY_MAX,
     NULL, "10", NULL, "recovery.ladder", BIT(BRG_RUNG_SHADOW) | BIT(BRG_RUNG_PARITY),
     "Steps in which a stage's shadow is renewed, one slice a step: the oldest slice of a whole "
     "shadow is so many steps old, less one. Also the steps from one parity to the next."},
    {"recovery", "shadow_moments", KEY_BOOL, FIELD(recovery.shadow_moments), 0, 1, NULL, "false",
     NULL, "recovery.ladder", BIT(BRG_RUNG_SHADOW),
     "true: the optimizer's moments are kept as well, for three times the traffic; measured, that "
     "buys little."},
    {"recovery", "shadow_int8", KEY_BOOL, FIELD(recovery.shadow_int8), 0, 1, NULL, NULL,
     "true; false with shadow_moments", "recovery.ladder", BIT(BRG_RUNG_SHADOW),
     "true: slices travel as int8 changes, a quarter of the traffic; what one rounds away is in "
     "the next."},
    {"recovery", "parity_group", KEY_COUNT, FIELD(recovery.parity_group), 0, BRG_LADDER_STAGES_MAX,
     NULL, "0", NULL, "recovery.ladder", BIT(BRG_RUNG_PARITY),
     "Stages that share one parity. Measured by bench_recovery; runs take 0 only: none is kept."},
    {"recovery", "stale_max", KEY_NUMBER, FIELD(recovery.ladder.stale_max), 0, 1e9, NULL, "0", NULL,
     "recovery.ladder", BIT(BRG_RUNG_SHADOW) | BIT(BRG_RUNG_PARITY),
     "Steps that a shadow or a parity may be behind to be used; 0: any."},
    {"recovery", "exponent", KEY_COUNT, FIELD(recovery.exponent), 0, 2, NULL, "2", NULL,
     "recovery.ladder", BIT(BRG_RUNG_NEIGHBOURS),
     "Neighbours are mixed in shares of their gradients' norms to this power; 0: equal shares."},
    {"recovery", "probe", KEY_BOOL, FIELD(recovery.probe), 0, 1, NULL, "false", NULL,
     "recovery.ladder", BIT(BRG_RUNG_NEIGHBOURS),
     "true: held-out samples choose among the mix, a copy of one neighbour and passing the stage "
     "over. Measured by bench_recovery; runs take false only."},
    {"recovery", "distil", KEY_COUNT, FIELD(recovery.distil_steps), 0, 1000, NULL, "0", NULL,
     "recovery.ladder", BIT(BRG_RUNG_NEIGHBOURS),
     "Steps in which a mix is fitted to what the stage got and gave last, before the line goes "
     "on. Measured by bench_recovery; runs take 0 only."},
    {"recovery", "swap", KEY_SHARE, FIELD(recovery.swap), 0, 1, NULL, "0%", NULL, "recovery.ladder",
     BIT(BRG_RUNG_NEIGHBOURS),
     "Share of the microbatches that pass the first and the last two stages in swapped order "
     "(CheckFree+). Measured by bench_recovery; runs take 0% only."},
};
/* clang-format on */

const struct key_also brg_runfile_also[] = {
    {"code.mu", "code.scheme", BIT(BRG_CODE_SPECULATIVE)},
    {NULL, NULL, 0},
};

#define KEY_COUNT_ALL (sizeof brg_runfile_keys / sizeof brg_runfile_keys[0])
_Static_assert(KEY_COUNT_ALL <= KEYS_MAX, "make KEYS_MAX larger");

const uint32_t brg_runfile_key_count = KEY_COUNT_ALL;
