/* view.h - how a status looks in a terminal. Pure but for the stream; one thread. */
#ifndef BRG_CLI_VIEW_H
#define BRG_CLI_VIEW_H

#include "cli/json.h"

#define BRG_VIEW_TEXT_BYTES 48u
#define BRG_VIEW_BAR_CELLS 24u

/* brg_view_seconds - "4.2 ms", "0.42 s", "12 s", "2 min 10 s", "3 h 5 min", "2 d 4 h"; "-" for NaN.
 * shape: out [BRG_VIEW_TEXT_BYTES]; returns out */
const char *brg_view_seconds(double seconds, char *out);

/* brg_view_count - "950", "19.5 k", "1.20 M"; "-" for NaN. shape, returns: as above */
const char *brg_view_count(double count, char *out);

/* brg_view_is_late - 1 where the worker of `status` holds the step up or would, were it waited for:
 * silent, at work on a step that is over, on a unit whose share is here already, or for more than
 * twice a step's time. */
int brg_view_is_late(const cJSON *status, const cJSON *worker);

/* brg_view_status - the whole page. */
void brg_view_status(const cJSON *status, FILE *out);

/* brg_view_stages - who holds which stage of an open pipeline, and what it is at; nothing for other
 * runs. */
void brg_view_stages(const cJSON *open, FILE *out);

/* brg_view_stage_of - the stage that the worker of this name holds; UINT64_MAX: none. */
uint64_t brg_view_stage_of(const cJSON *open, const char *worker);

/* brg_view_line - one run in one line without a line end: for logs and pipes. */
void brg_view_line(const cJSON *status, const cJSON *run, FILE *out);

/* brg_view_find_run - the run that `wanted` names by id or name, the newest if several; NULL: none.
 * Where `wanted` is NULL: the open one, else the first that is still to be worked on. */
const cJSON *brg_view_find_run(const cJSON *status, const char *wanted);

/* brg_view_run_ended - 1 where the run is finished, stopped or failed. */
int brg_view_run_ended(const cJSON *run);

/* brg_view_event - what happened, without its time: "w1: joined". */
void brg_view_event(const cJSON *event, FILE *out);

/* brg_view_runs - the table of runs. */
void brg_view_runs(const cJSON *reply, uint32_t indent, FILE *out);

#endif
