#include "cli/cli.h"
#include "cli/model_load.h"

#include "model/dtype.h"

#include <inttypes.h>
#include <string.h>

static const struct brg_cli_flag flags[] = {
    {.name = "out", .value = "PATH", .text = "What to write: a folder (hf) or a file. Needed."},
    {.name = "format",
     .value = "FORMAT",
     .fallback = "hf",
     .text = "hf: a Hugging Face folder. gguf: one file for llama.cpp. llama2c: a .bin for run.c, "
             "with NAME.tokenizer.bin beside it."},
    {.name = "dtype",
     .value = "TYPE",
     .fallback = "f32",
     .text = "f32, f16 or bf16: how the matrices are stored. llama2c has f32 only."},
    BRG_CLI_MODEL_FLAGS,
    BRG_CLI_STATE_FLAG,
};

static const struct brg_cli_verb verb = {
    .name = "export",
    .arguments = "",
    .summary = "write a model as a file that other programs open",
    .about =
        "Writes the parameters of a run, as they are now, or of a model that was imported, in a\n"
        "format that other programs read. The tokenizer goes with it, and the run, the step\n"
        "and the digests of data and tokenizer are noted inside. Only models of type llama\n"
        "have such formats.\n"
        "\n"
        "What is written appears under its name only once it is whole.\n",
    .examples = "$ brigade export --run kjv --format gguf --dtype f16 --out kjv.gguf\n"
                "$ brigade export --run 1 --format hf --out kjv-hf\n"
                "$ brigade export --checkpoint ckpt/run-1/ckpt-0000000400 --run-file kjv.yaml \\\n"
                "      --format llama2c --out kjv.bin\n"
                "$ brigade export --model kjv-hf --format gguf --out kjv.gguf\n",
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

static int read_settings(const struct brg_cli_args *args, struct brg_export *e) {
    const char *format = brg_cli_value(args, "format"), *dtype = brg_cli_value(args, "dtype");
    e->path = brg_cli_value(args, "out");
    if (e->path == NULL) return brg_cli_wrong(&verb, "--out PATH is missing");
    if (brg_export_format_parse(format, &e->format) != BRG_OK)
        return brg_cli_wrong(&verb, "--format is '%.40s'; it must be hf, gguf or llama2c", format);
    if (brg_weight_parse(dtype, &e->dtype) != BRG_OK)
        return brg_cli_wrong(&verb, "--dtype is '%.40s'; it must be f32, f16 or bf16", dtype);
    return BRG_CLI_GO;
}

int brg_cli_export(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_cli_model model = {.params = NULL};
    struct brg_export e = {.path = NULL};
    struct brg_why why = {.text = ""};

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc == BRG_CLI_GO) rc = read_settings(&args, &e);
    if (rc == BRG_CLI_GO) rc = brg_cli_model_load(&args, &model);
    if (rc == BRG_CLI_GO && model.spec.type != BRG_MODEL_LLAMA)
        rc = brg_cli_fail(&verb, BRG_EXIT_FAILED,
                          "only models of type llama can be exported; other programs have no "
                          "format for this one");
    if (rc == BRG_CLI_GO) {
        e.spec = &model.spec;
        e.tokenizer = model.tokenizer;
        e.source = brg_export_params(model.params);
        e.notes = (struct brg_export_notes){
            .run = model.run, .step = model.step, .data_digest = model.data_digest};
        const int err = brg_export_write(&e, &why);
        rc =
            err == BRG_OK ? BRG_EXIT_OK : brg_cli_fail(&verb, brg_cli_exit_of(err), "%s", why.text);
    }
    if (rc == BRG_EXIT_OK && e.path != NULL && model.params != NULL)
        printf("%s: %" PRIu64 " parameters as %s\n", e.path, brg_model_param_count(&model.spec),
               brg_weight_name(e.dtype));
    brg_cli_model_free(&model);
    return rc;
}
