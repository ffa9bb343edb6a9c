#include "base/file.h"
#include "cli/client.h"
#include "cli/table.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

static const struct brg_cli_flag create_flags[] = {
    {.name = "expires",
     .value = "DURATION",
     .fallback = "24h",
     .text = "How long the token lets workers in. Those who joined stay."},
    {.name = "uses",
     .value = "COUNT",
     .fallback = "100",
     .text = "How many workers may join with it."},
    {.name = "label", .value = "TEXT", .text = "A word for the list, such as who it is for."},
    {.name = "out",
     .value = "FILE",
     .text = "Write the token to FILE (mode 0600) instead of printing it."},
    {.name = "json", .text = "The answer as JSON, the token included."},
    BRG_CLI_CLIENT_FLAGS,
};

static const struct brg_cli_verb create_verb = {
    .name = "token create",
    .arguments = "",
    .summary = "make a join token",
    .about = "Makes a token with which workers that nobody knows yet may join. It is shown once:\n"
             "the coordinator keeps only its hash. Whoever has it can join, so hand it out as\n"
             "you would a password; workers read it from a file.\n",
    .examples = "$ brigade token create --expires 2h --uses 4 --label lab\n"
                "$ brigade token create --out token\n"
                "$ brigade worker --join 'brigade://KEY@host:7420' --token-file token\n",
    .flag_count = sizeof create_flags / sizeof create_flags[0],
    .flags = create_flags,
};

static int write_token(const char *path, const char *token) {
    char line[256];
    int size = snprintf(line, sizeof line, "%s\n", token);
    BRG_ASSERT(size > 0 && (size_t)size < sizeof line);
    int rc = brg_file_write_atomic(path, 0600, line, (size_t)size);
    if (rc == BRG_OK) return BRG_CLI_GO;
    return brg_cli_fail(&create_verb, brg_cli_exit_of(rc),
                        "the token cannot be written to %s: %s. Nobody has seen it; make another "
                        "one once this is mended",
                        path, strerror(errno));
}

static void print_token(const cJSON *reply, const char *out) {
    const char *token = brg_json_text(reply, "token", ""), *join = brg_json_text(reply, "join", "");
    printf("token %" PRIu64 ", expires %s\n", brg_json_u64(reply, "id"),
           brg_json_text(reply, "expires", "-"));
    if (out == NULL) printf("\n    %s\n", token);
    printf("\non a worker's machine, with the token in a file of its own:\n"
           "    brigade worker --join '%s' --token-file %s\n",
           join, out != NULL ? out : "token");
}

static int token_create(int argc, char **argv) {
    struct brg_cli_args args;
    uint64_t expires_ns = 0, uses = 0;
    cJSON *reply = NULL;

    int rc = brg_cli_parse(&create_verb, argc, argv, &args);
    if (rc == BRG_CLI_GO) rc = brg_cli_duration(&args, "expires", &expires_ns);
    if (rc == BRG_CLI_GO) rc = brg_cli_number(&args, "uses", 1, 1000000, &uses);
    if (rc != BRG_CLI_GO) return rc;
    if (expires_ns < BRG_NS_PER_S) {
        return brg_cli_wrong(&create_verb, "--expires must be a second at least");
    }
    const char *out = brg_cli_value(&args, "out"), *label = brg_cli_value(&args, "label");
    cJSON *request = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(request, "expires_s", (double)(expires_ns / BRG_NS_PER_S));
    (void)cJSON_AddNumberToObject(request, "uses", (double)uses);
    (void)cJSON_AddStringToObject(request, "label", label != NULL ? label : "");
    rc = brg_client_ask(&args, "token.create", request, &reply);
    if (rc != BRG_CLI_GO) return rc;
    const char *token = brg_json_text(reply, "token", "");
    if (out != NULL && strlen(token) < 200) rc = write_token(out, token);
    if (rc == BRG_CLI_GO) {
        if (!brg_cli_given(&args, "json")) print_token(reply, out);
        rc = brg_cli_given(&args, "json") && brg_json_print(reply, stdout) != BRG_OK
                 ? BRG_EXIT_FAILED
                 : BRG_EXIT_OK;
    }
    cJSON_Delete(reply);
    return rc;
}

static const struct brg_cli_flag list_flags[] = {
    {.name = "json", .text = "The list as JSON."},
    BRG_CLI_CLIENT_FLAGS,
};

static const struct brg_cli_verb list_verb = {
    .name = "token list",
    .arguments = "",
    .summary = "list the join tokens",
    .about = "Lists the tokens that were made: until when, how often, and whether revoked. The\n"
             "tokens themselves are not stored, so they cannot be shown.\n",
    .examples = "$ brigade token list\n",
    .flag_count = sizeof list_flags / sizeof list_flags[0],
    .flags = list_flags,
};

/* Times in this form and zone are in the order of their text. */
static const char *state_of(const cJSON *token) {
    struct tm tm;
    char now_text[32] = "";
    time_t now = time(NULL);
    (void)strftime(now_text, sizeof now_text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    if (brg_json_is_true(token, "revoked")) return "revoked";
    if (strcmp(brg_json_text(token, "expires", now_text), now_text) < 0) return "expired";
    return brg_json_u64(token, "uses_left") == 0 ? "used up" : "good";
}

static int token_list(int argc, char **argv) {
    static const char *const headings[] = {">TOKEN", "LABEL", "EXPIRES", ">USES LEFT", "STATE"};
    struct brg_cli_args args;
    struct brg_table table;
    cJSON *reply = NULL;

    int rc = brg_cli_parse(&list_verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    rc = brg_client_ask(&args, "token.list", NULL, &reply);
    if (rc != BRG_CLI_GO) return rc;
    rc = BRG_EXIT_OK;
    if (brg_cli_given(&args, "json")) {
        if (brg_json_print(reply, stdout) != BRG_OK) rc = BRG_EXIT_FAILED;
        cJSON_Delete(reply);
        return rc;
    }
    brg_table_init(&table, headings, 5);
    for (const cJSON *t = brg_json_first(reply, "tokens"); t != NULL; t = t->next) {
        brg_table_cell(&table, "%" PRIu64, brg_json_u64(t, "id"));
        brg_table_cell(&table, "%s", brg_json_text(t, "label", ""));
        brg_table_cell(&table, "%s", brg_json_text(t, "expires", "-"));
        brg_table_cell(&table, "%" PRIu64, brg_json_u64(t, "uses_left"));
        brg_table_cell(&table, "%s", state_of(t));
    }
    brg_table_print(&table, 0, stdout);
    brg_table_fini(&table);
    cJSON_Delete(reply);
    return rc;
}

static const struct brg_cli_flag revoke_flags[] = {BRG_CLI_CLIENT_FLAGS};

static const struct brg_cli_verb revoke_verb = {
    .name = "token revoke",
    .arguments = "TOKEN",
    .summary = "let nobody join with a token any more",
    .about = "From now on nobody joins with this token. TOKEN is its number in the list. Workers\n"
             "that joined with it stay: see 'brigade workers revoke'.\n",
    .examples = "$ brigade token revoke 3\n",
    .arguments_min = 1,
    .arguments_max = 1,
    .flag_count = sizeof revoke_flags / sizeof revoke_flags[0],
    .flags = revoke_flags,
};

static int token_revoke(int argc, char **argv) {
    struct brg_cli_args args;
    cJSON *reply = NULL;

    int rc = brg_cli_parse(&revoke_verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    const char *id = args.arguments[0];
    if (strspn(id, "0123456789") != strlen(id) || strlen(id) > 15) {
        return brg_cli_wrong(&revoke_verb,
                             "'%.40s' is no number of a token in 'brigade token list'", id);
    }
    cJSON *request = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(request, "id", strtod(id, NULL));
    rc = brg_client_ask(&args, "token.revoke", request, &reply);
    if (rc != BRG_CLI_GO) return rc;
    printf("token %s is revoked\n", id);
    cJSON_Delete(reply);
    return BRG_EXIT_OK;
}

int brg_cli_token(int argc, char **argv) {
    static const struct brg_cli_word words[] = {
        {"create", "make a join token", token_create},
        {"list", "list the join tokens", token_list},
        {"revoke", "let nobody join with a token any more", token_revoke},
    };
    return brg_cli_words("token",
                         "Join tokens let workers enrol whose keys nobody knows yet. They expire,\n"
                         "are good for a number of workers, and can be revoked.\n",
                         words, 3, argc, argv);
}
