/* client.h - an operator's connection to a coordinator: one request, one reply, each with a bound.
 *
 *   verb ──Operate{id, verb, JSON}──► coordinator
 *        ◄──OperateReply{id, code, JSON}──            CURVE; the operator's key is who asks
 *
 * Where it is: --coordinator URL and --operator-key FILE, else the files `endpoint` and
 * `operator.key` in the coordinator's state folder. One thread. */
#ifndef BRG_CLI_CLIENT_H
#define BRG_CLI_CLIENT_H

#include "cli/cli.h"
#include "cli/json.h"

#define BRG_CLIENT_TIMEOUT "10s"
#define BRG_CLIENT_ABSENT_NS                                                                       \
    (UINT64_C(3) * BRG_NS_PER_S) /* nobody listening for so long: give up */

/* The flags every verb has that asks the coordinator. */
#define BRG_CLI_CLIENT_FLAGS                                                                       \
    BRG_CLI_STATE_FLAG,                                                                            \
        {.name = "coordinator",                                                                    \
         .value = "URL",                                                                           \
         .traits = BRG_CLI_ENV,                                                                    \
         .text = "Join URL of a coordinator elsewhere, brigade://KEY@HOST:PORT, in single "        \
                 "quotes; needs --operator-key."},                                                 \
        {.name = "operator-key",                                                                   \
         .value = "FILE",                                                                          \
         .traits = BRG_CLI_ENV,                                                                    \
         .text = "Key file that may operate the coordinator, a copy of operator.key in its state " \
                 "folder."},                                                                       \
    {                                                                                              \
        .name = "timeout", .value = "DURATION", .fallback = BRG_CLIENT_TIMEOUT,                    \
        .text = "How long to wait for each answer."                                                \
    }

struct brg_client;

/* brg_client_open - finds out where the coordinator is and starts to dial.
 *
 * own:     *out is the caller's, end with brg_client_close; NULL unless BRG_CLI_GO
 * returns: BRG_CLI_GO, or an exit code after one sentence on standard error */
BRG_CHECK int brg_client_open(const struct brg_cli_args *args, struct brg_client **out);

/* brg_client_open_state - the same for the coordinator of a state folder on this machine, whatever
 * --coordinator says. own, returns: as brg_client_open */
BRG_CHECK int brg_client_open_state(const struct brg_cli_args *args, const char *state_dir,
                                    uint64_t timeout_ns, struct brg_client **out);

void brg_client_close(struct brg_client **c);

/* brg_client_call - asks and waits for the answer.
 *
 * own:     request, which may be NULL for {}, is taken over; *reply is the caller's: cJSON_Delete.
 *          It is an object, NULL unless BRG_CLI_GO
 * returns: BRG_CLI_GO, or an exit code with one sentence in *why: 1 what the coordinator objects
 *          to; 69 this key may not; 75 nobody there or no answer within the bound; 74 broken socket
 */
BRG_CHECK int brg_client_call(struct brg_client *c, const char *verb, cJSON *request, cJSON **reply,
                              struct brg_why *why);

/* brg_client_ask - open, call and close in one; the sentence goes to standard error.
 * own, returns: as brg_client_call */
BRG_CHECK int brg_client_ask(const struct brg_cli_args *args, const char *verb, cJSON *request,
                             cJSON **reply);

/* brg_client_run - {"run": 3} or {"run": "name"}, by what `text` looks like; NULL without memory.
 */
cJSON *brg_client_run(const char *text);

/* brg_client_now_ns - monotonic clock. */
uint64_t brg_client_now_ns(void);

#endif
