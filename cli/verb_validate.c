#include "cli/cli.h"
#include "cli/json.h"
#include "cli/run_load.h"

#include <inttypes.h>

static const struct brg_cli_flag flags[] = {
    {.name = "offline",
     .text = "Do not look at the data files: only what the run file itself says is checked."},
    {.name = "json", .text = "Faults and prediction as JSON instead of text."},
};

static const struct brg_cli_verb verb = {
    .name = "validate",
    .arguments = "RUN.yaml",
    .summary = "check a run file, explain its keys, predict memory and traffic",
    .about = "Reads a run file as 'brigade submit' would, opens its data set and starts nothing.\n"
             "Every fault is listed at once, as FILE:LINE: KEY: what is wrong, what to do.\n"
             "\n"
             "Without faults it prints each key that applies with its value, where the value\n"
             "comes from and what it means, then what the run will take: memory, traffic, disk.\n"
             "For texts it also says what a byte bigram model loses: the bar to beat.\n"
             "\n"
             "Leaves with 0 if the run can be submitted and with 78 if it cannot.\n",
    .examples = "$ brigade validate run.yaml\n"
                "$ brigade validate --offline run.yaml     # the data is on another machine\n"
                "$ brigade validate --json run.yaml | jq .prediction.worker_memory_bytes\n"
                "$ brigade validate --json line.yaml | jq '.stages[0].link_bytes_per_token'\n",
    .arguments_min = 1,
    .arguments_max = 1,
    .flag_count = 2,
    .flags = flags,
};

static void add_number(cJSON *object, const char *key, uint64_t number) {
    (void)cJSON_AddNumberToObject(object, key, (double)number);
}

static void add_prediction(const struct brg_run_config *config, cJSON *root) {
    struct brg_run_prediction p;
    cJSON *o = cJSON_AddObjectToObject(root, "prediction");
    brg_run_config_predict(config, &p);
    add_number(o, "parameters", p.parameters);
    add_number(o, "parameter_bytes", p.parameter_bytes);
    add_number(o, "worker_memory_bytes", p.worker_memory_bytes);
    add_number(o, "coordinator_memory_bytes", p.coordinator_memory_bytes);
    add_number(o, "sent_bytes_per_step", p.sent_bytes);
    add_number(o, "received_bytes_per_step", p.received_bytes);
    add_number(o, "log_bytes_per_step", p.log_bytes);
    add_number(o, "checkpoint_bytes", p.checkpoint_bytes);
    add_number(o, "units", p.units);
    add_number(o, "chunks_each", p.chunks_each);
    add_number(o, "shares_each", p.shares_each);
    add_number(o, "delay", p.delay);
    add_number(o, "models", config->models);
    add_number(o, "steps_in_all", brg_run_config_steps(config));
}

/* Of a pipeline: each stage, its link to the next and what is sent to who keeps it. */
static void add_stages(const struct brg_run_config *config, cJSON *root) {
    if (config->kind != BRG_RUN_KIND_PIPELINE) return;
    cJSON *stages = cJSON_AddArrayToObject(root, "stages");
    for (uint32_t i = 0; i < config->pipeline.stages; i++) {
        struct brg_stage_prediction p;
        cJSON *o = cJSON_CreateObject();
        brg_run_config_predict_stage(config, i, &p);
        add_number(o, "stage", i);
        add_number(o, "first_layer", p.first_layer);
        add_number(o, "layers", p.layers);
        add_number(o, "parameters", p.parameters);
        add_number(o, "memory_bytes", p.memory_bytes);
        add_number(o, "boundary_bytes", p.boundary_bytes);
        add_number(o, "link_bytes_per_step", p.link_bytes);
        (void)cJSON_AddNumberToObject(o, "link_bytes_per_token", p.bytes_per_token);
        add_number(o, "shadow_bytes_per_step", p.shadow_bytes);
        add_number(o, "parity_bytes_per_step", p.parity_bytes);
        add_number(o, "checkpoint_bytes", p.checkpoint_bytes);
        cJSON_AddItemToArray(stages, o);
    }
}

static void add_data(const struct brg_run_data *data, cJSON *root) {
    char hex[BRG_DIGEST_HEX_BYTES];
    if (!data->is_known) return;
    cJSON *o = cJSON_AddObjectToObject(root, "data");
    add_number(o, "train", data->train_count);
    add_number(o, "held_out", data->held_count);
    (void)cJSON_AddStringToObject(o, "digest", brg_digest_hex(&data->digest, hex));
    if (data->has_bar) (void)cJSON_AddNumberToObject(o, "bigram_loss", data->bar.order1);
}

static int print_json(const char *path, int is_valid, const struct brg_run_config *config,
                      const struct brg_run_data *data, const struct brg_run_faults *faults) {
    cJSON *root = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(root, "faults");
    (void)cJSON_AddStringToObject(root, "file", path);
    (void)cJSON_AddBoolToObject(root, "valid", is_valid);
    for (uint32_t i = 0; i < faults->count; i++) {
        cJSON *item = cJSON_CreateObject();
        add_number(item, "line", faults->items[i].line);
        (void)cJSON_AddStringToObject(item, "key", faults->items[i].key);
        (void)cJSON_AddStringToObject(item, "text", faults->items[i].text);
        cJSON_AddItemToArray(list, item);
    }
    add_number(root, "faults_left_out", faults->left_out);
    if (is_valid) {
        (void)cJSON_AddStringToObject(root, "run", config->name);
        add_data(data, root);
        add_prediction(config, root);
        add_stages(config, root);
    }
    int rc = brg_json_print(root, stdout);
    cJSON_Delete(root);
    return rc;
}

static void print_data(const struct brg_run_data *data) {
    if (!data->is_known) {
        printf("\ndata: not looked at (--offline)\n");
        return;
    }
    printf("\ndata: %" PRIu64 " %s to train on, %" PRIu64 " held out\n", data->train_count,
           data->kind == BRG_DATA_TOKENS ? "tokens" : "rows", data->held_count);
    if (!data->has_bar) return;
    printf("bar:  a byte bigram model loses %.4f nats a token on the held-out part\n",
           data->bar.order1);
}

int brg_cli_validate(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_run_config config;
    struct brg_run_data data;
    struct brg_run_faults faults;

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    const char *path = args.arguments[0];
    int is_valid =
        brg_run_load(path, brg_cli_given(&args, "offline"), &config, &data, &faults) == BRG_OK;
    if (brg_cli_given(&args, "json")) {
        if (print_json(path, is_valid, &config, &data, &faults) != BRG_OK) return BRG_EXIT_FAILED;
    } else if (is_valid) {
        if (brg_run_config_explain(&config, stdout) != BRG_OK) return BRG_EXIT_IO;
        print_data(&data);
        printf("\n%s can be submitted.\n", path);
    }
    if (is_valid) return BRG_EXIT_OK;
    if (!brg_cli_given(&args, "json")) brg_run_faults_print(&faults, path, stderr);
    return BRG_EXIT_CONFIG;
}
