/* verb_steer.c - pause, resume and stop: one question each about one run. */
#include "cli/client.h"

#include "model/stage.h"

#include <inttypes.h>
#include <string.h>

static const struct brg_cli_flag flags[] = {BRG_CLI_CLIENT_FLAGS};
#define FLAGS .flag_count = sizeof flags / sizeof flags[0], .flags = flags

static const struct brg_cli_flag resume_flags[] = {
    {.name = "stages",
     .value = "N",
     .text = "Of a pipeline: cut its model into N stages from now on. Default: as before."},
    BRG_CLI_CLIENT_FLAGS,
};

static const struct brg_cli_verb pause_verb = {
    .name = "pause",
    .arguments = "RUN",
    .summary = "let a run rest after the step in flight",
    .about = "No new step is begun, a checkpoint is kept, and the next run in the queue has its\n"
             "turn. 'brigade resume' goes on at the same step. RUN is a number or a name from\n"
             "'brigade runs'.\n",
    .examples = "$ brigade pause kjv-tiny\n",
    .arguments_min = 1,
    .arguments_max = 1,
    FLAGS,
};

static const struct brg_cli_verb resume_verb = {
    .name = "resume",
    .arguments = "RUN",
    .summary = "let a paused run go on",
    .about = "The run goes on at the step at which it was paused, when it is its turn. RUN is a\n"
             "number or a name from 'brigade runs'.\n"
             "\n"
             "A pipeline that is paused lies in files, one a stage, which can be cut anew: with\n"
             "--stages it goes on in another number of stages, with the same bits.\n",
    .examples = "$ brigade resume kjv-tiny\n"
                "$ brigade resume kjv-line --stages 4\n",
    .arguments_min = 1,
    .arguments_max = 1,
    .flag_count = sizeof resume_flags / sizeof resume_flags[0],
    .flags = resume_flags,
};

static const struct brg_cli_verb stop_verb = {
    .name = "stop",
    .arguments = "RUN",
    .summary = "end a run for good",
    .about = "Ends the run where it is. What was trained so far stays on disk; the run itself\n"
             "cannot be taken up again. RUN is a number or a name from 'brigade runs'.\n",
    .examples = "$ brigade stop 3\n",
    .arguments_min = 1,
    .arguments_max = 1,
    FLAGS,
};

/* The answer tells the state at that instant; what was asked for may come with the next step. */
static int steer(const struct brg_cli_verb *verb, const char *wanted, int argc, char **argv) {
    struct brg_cli_args args;
    cJSON *reply = NULL;
    uint64_t stages = 0;

    int rc = brg_cli_parse(verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    cJSON *body = brg_client_run(args.arguments[0]);
    if (verb == &resume_verb && brg_cli_given(&args, "stages")) {
        rc = brg_cli_number(&args, "stages", 1, BRG_STAGES_MAX, &stages);
        if (rc != BRG_CLI_GO) {
            cJSON_Delete(body);
            return rc;
        }
        (void)cJSON_AddNumberToObject(body, "stages", (double)stages);
    }
    rc = brg_client_ask(&args, verb->name, body, &reply);
    if (rc != BRG_CLI_GO) return rc;
    const char *state = brg_json_text(reply, "state", "-");
    printf("run %" PRIu64 " is %s", brg_json_u64(reply, "run"), state);
    if (wanted != NULL && strcmp(state, wanted) != 0) {
        printf(" and will be %s once the step in flight is over", wanted);
    }
    putchar('\n');
    cJSON_Delete(reply);
    return BRG_EXIT_OK;
}

int brg_cli_pause(int argc, char **argv) {
    return steer(&pause_verb, "paused", argc, argv);
}

int brg_cli_resume(int argc, char **argv) {
    return steer(&resume_verb, NULL, argc, argv);
}

int brg_cli_stop(int argc, char **argv) {
    return steer(&stop_verb, "stopped", argc, argv);
}
