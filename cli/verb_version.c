#include "cli/cli.h"
#include "cli/json.h"
#include "kernels/kernels.h"
#include "proto/messages.h"

#include <sodium/version.h>
#include <yaml.h>
#include <zmq.h>

static const struct brg_cli_flag flags[] = {{.name = "json", .text = "As JSON."}};

static const struct brg_cli_verb verb = {
    .name = "version",
    .arguments = "",
    .summary = "versions of this program and its libraries",
    .about = "Prints the version of the program and of its protocol (coordinator and workers must\n"
             "have the same protocol), the instruction set that its arithmetic uses on this\n"
             "machine, and the versions of libraries. The same program gives the same bits on\n"
             "the same instruction set.\n",
    .examples = "$ brigade version\n"
                "$ brigade version --json | jq -r .kernels\n",
    .flag_count = 1,
    .flags = flags,
};

int brg_cli_version(int argc, char **argv) {
    struct brg_cli_args args;
    char zmq[32];
    int major = 0, minor = 0, patch = 0;

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    zmq_version(&major, &minor, &patch);
    (void)snprintf(zmq, sizeof zmq, "%d.%d.%d", major, minor, patch);
    const char *kernels = brg_kernels_pick()->name;
    if (!brg_cli_given(&args, "json")) {
        printf("brigade %s\n"
               "protocol   %u\n"
               "kernels    %s\n"
               "ZeroMQ     %s\n"
               "libsodium  %s\n"
               "libyaml    %s\n"
               "cJSON      %s\n",
               BRG_VERSION, BRG_PROTOCOL, kernels, zmq, sodium_version_string(),
               yaml_get_version_string(), cJSON_Version());
        return BRG_EXIT_OK;
    }
    cJSON *root = cJSON_CreateObject(), *libraries = cJSON_AddObjectToObject(root, "libraries");
    (void)cJSON_AddStringToObject(root, "version", BRG_VERSION);
    (void)cJSON_AddNumberToObject(root, "protocol", BRG_PROTOCOL);
    (void)cJSON_AddStringToObject(root, "kernels", kernels);
    (void)cJSON_AddStringToObject(libraries, "zeromq", zmq);
    (void)cJSON_AddStringToObject(libraries, "libsodium", sodium_version_string());
    (void)cJSON_AddStringToObject(libraries, "libyaml", yaml_get_version_string());
    (void)cJSON_AddStringToObject(libraries, "cjson", cJSON_Version());
    rc = brg_json_print(root, stdout) == BRG_OK ? BRG_EXIT_OK : BRG_EXIT_FAILED;
    cJSON_Delete(root);
    return rc;
}
