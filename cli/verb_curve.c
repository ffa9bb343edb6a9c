#include "cli/client.h"
#include "cli/table.h"

#include <inttypes.h>
#include <math.h>

#define PAGE_POINTS 100u
#define PAGES_MAX 1000000u
#define ALL_MODELS UINT64_MAX

static const struct brg_cli_flag flags[] = {
    {.name = "run", .value = "RUN", .text = "The run, by number or name. Always needed."},
    {.name = "model",
     .value = "MODEL",
     .text = "Only this model of a run with several, by its number from 0."},
    {.name = "from", .value = "STEP", .fallback = "1", .text = "The first step."},
    {.name = "csv", .text = "Comma-separated, with a heading."},
    {.name = "json", .text = "As JSON: points, and looks at the held-out data."},
    BRG_CLI_CLIENT_FLAGS,
};

static const struct brg_cli_verb verb = {
    .name = "curve",
    .arguments = "",
    .summary = "the losses of a run, step by step",
    .about = "Prints for each step the mean loss, the learning rate, the norm of the gradient\n"
             "before clipping, how long the step took, and whether it had to wait for\n"
             "stragglers; and the loss on the held-out data where it was looked at.\n",
    .examples = "$ brigade curve --run kjv-tiny\n"
                "$ brigade curve --run 3 --csv > curve.csv\n",
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

/* The held-out look at `step`, or NULL. */
static const cJSON *held_at(const cJSON *held, uint64_t step) {
    while (held != NULL && brg_json_u64(held, "step") != step) held = held->next;
    return held;
}

static void put_csv(const cJSON *point, const char *key) {
    double number = brg_json_number(point, key);
    if (!isnan(number)) printf("%.9g", number);
}

static void print_csv(const cJSON *all) {
    printf("step,loss,held_out_loss,held_out_accuracy,lr,grad_norm,seconds,model,"
           "model_step,waited\n");
    for (const cJSON *p = brg_json_first(all, "points"); p != NULL; p = p->next) {
        uint64_t step = brg_json_u64(p, "step");
        const cJSON *held = held_at(brg_json_first(all, "held_out"), step);
        printf("%" PRIu64 ",", step);
        put_csv(p, "loss");
        putchar(',');
        put_csv(held, "loss");
        putchar(',');
        put_csv(held, "accuracy");
        putchar(',');
        put_csv(p, "lr");
        putchar(',');
        put_csv(p, "grad_norm");
        putchar(',');
        put_csv(p, "seconds");
        printf(",%" PRIu64 ",%" PRIu64 ",%d\n", brg_json_u64(p, "model"),
               brg_json_u64(p, "model_step"), brg_json_is_true(p, "waited"));
    }
}

static void print_table(const cJSON *all) {
    static const char *const headings[] = {">STEP",     ">MODEL",    ">LOSS",
                                           ">HELD-OUT", ">ACCURACY", ">RATE",
                                           ">GRADIENT", ">SECONDS",  "WAITED"};
    struct brg_table t;
    brg_table_init(&t, headings, 9);
    for (const cJSON *p = brg_json_first(all, "points"); p != NULL; p = p->next) {
        uint64_t step = brg_json_u64(p, "step");
        const cJSON *held = held_at(brg_json_first(all, "held_out"), step);
        brg_table_cell(&t, "%" PRIu64, step);
        brg_table_cell(&t, "%" PRIu64, brg_json_u64(p, "model"));
        brg_table_number(&t, brg_json_number(p, "loss"), 4);
        brg_table_number(&t, brg_json_number(held, "loss"), 4);
        brg_table_number(&t, brg_json_number(held, "accuracy"), 4);
        brg_table_number(&t, brg_json_number(p, "lr"), 6);
        brg_table_number(&t, brg_json_number(p, "grad_norm"), 3);
        brg_table_number(&t, brg_json_number(p, "seconds"), 3);
        brg_table_cell(&t, "%s", brg_json_is_true(p, "waited") ? "yes" : "");
    }
    brg_table_print(&t, 0, stdout);
    brg_table_fini(&t);
}

/* Moves the points of an answer behind those there are; returns how many. The looks at held-out
 * data come whole with each answer. */
static uint32_t take_page(cJSON *reply, uint64_t model, cJSON *all) {
    cJSON *points = cJSON_GetObjectItemCaseSensitive(reply, "points");
    cJSON *held = cJSON_DetachItemFromObjectCaseSensitive(reply, "held_out");
    cJSON *target = cJSON_GetObjectItemCaseSensitive(all, "points");
    uint32_t count = 0;
    for (cJSON *item = cJSON_IsArray(points) ? points->child : NULL; item != NULL; count++) {
        cJSON *next = item->next;
        if (model == ALL_MODELS || brg_json_u64(item, "model") == model) {
            (void)cJSON_AddItemToArray(target, cJSON_DetachItemViaPointer(points, item));
        }
        item = next;
    }
    if (held != NULL) (void)cJSON_ReplaceItemInObjectCaseSensitive(all, "held_out", held);
    return count;
}

static int fetch(struct brg_client *c, const char *run, uint64_t from, uint64_t model, cJSON *all) {
    struct brg_why why;
    for (uint32_t page = 0; page < PAGES_MAX; page++) {
        cJSON *reply = NULL, *request = brg_client_run(run);
        (void)cJSON_AddNumberToObject(request, "from", (double)from);
        (void)cJSON_AddNumberToObject(request, "limit", PAGE_POINTS);
        int rc = brg_client_call(c, "curve", request, &reply, &why);
        if (rc != BRG_CLI_GO) return brg_cli_fail(&verb, rc, "%s", why.text);
        uint64_t last = 0;
        for (const cJSON *p = brg_json_first(reply, "points"); p != NULL; p = p->next) {
            last = brg_json_u64(p, "step");
        }
        uint32_t count = take_page(reply, model, all);
        cJSON_Delete(reply);
        if (count == 0 || last < from) break; /* nothing new: that was all */
        from = last + 1;
    }
    return BRG_CLI_GO;
}

int brg_cli_curve(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_client *c = NULL;
    uint64_t from = 1, model = ALL_MODELS;

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc == BRG_CLI_GO) rc = brg_cli_number(&args, "from", 1, UINT64_C(1) << 40, &from);
    if (rc == BRG_CLI_GO) rc = brg_cli_number(&args, "model", 0, 7, &model);
    if (rc != BRG_CLI_GO) return rc;
    const char *run = brg_cli_value(&args, "run");
    int as_json = brg_cli_given(&args, "json"), as_csv = brg_cli_given(&args, "csv");
    if (run == NULL) return brg_cli_wrong(&verb, "--run RUN is missing");
    if (as_json && as_csv) return brg_cli_wrong(&verb, "--json and --csv exclude each other");
    rc = brg_client_open(&args, &c);
    if (rc != BRG_CLI_GO) return rc;
    cJSON *all = cJSON_CreateObject();
    (void)cJSON_AddArrayToObject(all, "points");
    (void)cJSON_AddArrayToObject(all, "held_out");
    rc = fetch(c, run, from, model, all);
    if (rc == BRG_CLI_GO) {
        rc = BRG_EXIT_OK;
        if (as_json && brg_json_print(all, stdout) != BRG_OK) rc = BRG_EXIT_FAILED;
        if (as_csv) print_csv(all);
        if (!as_json && !as_csv) print_table(all);
    }
    cJSON_Delete(all);
    brg_client_close(&c);
    return rc;
}
