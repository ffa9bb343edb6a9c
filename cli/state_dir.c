#include "cli/cli.h"

int brg_cli_state_dir(const struct brg_cli_args *args, char *out) {
    const char *given = brg_cli_value(args, "state");
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int size;

    if (given != NULL) {
        size = snprintf(out, BRG_CLI_PATH_BYTES, "%s", given);
    } else if (xdg != NULL && xdg[0] == '/') { /* a relative one is to be ignored, says its spec */
        size = snprintf(out, BRG_CLI_PATH_BYTES, "%s/brigade-coordinator", xdg);
    } else if (home != NULL && home[0] == '/') {
        size = snprintf(out, BRG_CLI_PATH_BYTES, "%s/.local/state/brigade-coordinator", home);
    } else {
        return brg_cli_fail(
            args->verb, BRG_EXIT_CONFIG,
            "neither --state, BRIGADE_STATE, XDG_STATE_HOME nor HOME says where the "
            "coordinator's state folder is: give --state DIR.");
    }
    if (size < 0 || (uint32_t)size >= BRG_CLI_PATH_BYTES) {
        return brg_cli_fail(args->verb, BRG_EXIT_CONFIG,
                            "the path of the state folder is too long: give a shorter --state.");
    }
    return BRG_CLI_GO;
}
