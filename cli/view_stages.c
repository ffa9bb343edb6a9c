/* view_stages.c - the line of stages of a pipeline, for a terminal. */
#include "cli/view.h"

#include "cli/cli.h"
#include "cli/table.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define HOLDERS_BYTES 256u /* of names in one cell; more are cut off */

/* "w1, w2": who holds the stage; with the lanes of each where there are several. */
static const char *holders_text(const cJSON *stage, uint64_t lanes, char *out) {
    size_t n = 0;
    (void)snprintf(out, HOLDERS_BYTES, "nobody");
    for (const cJSON *h = brg_json_first(stage, "holders"); h != NULL; h = h->next) {
        const uint64_t bits = brg_json_u64(h, "lanes");
        if (n + 80 > HOLDERS_BYTES) break;
        n += (size_t)snprintf(out + n, HOLDERS_BYTES - n, "%s%.40s", n > 0 ? ", " : "",
                              brg_json_text(h, "worker", "?"));
        if (lanes < 2) continue;
        const char *between = " (";
        for (uint32_t lane = 0; lane < 16 && n + 8 < HOLDERS_BYTES; lane++) {
            if ((bits >> lane & 1) == 0) continue;
            n += (size_t)snprintf(out + n, HOLDERS_BYTES - n, "%s%" PRIu32, between, lane);
            between = " ";
        }
        if (between[1] == '\0') n += (size_t)snprintf(out + n, HOLDERS_BYTES - n, ")");
    }
    return out;
}

/* Where a shadow or parity lies, and how many steps it is behind. */
static void add_kept(const cJSON *stage, const char *key, uint64_t committed, struct brg_table *t) {
    const cJSON *kept = brg_json_object(stage, key);
    const uint64_t version = brg_json_u64(kept, "version");
    if (kept == NULL) {
        brg_table_cell(t, "-");
        return;
    }
    brg_table_cell(t, "%.40s, %" PRIu64 " old", brg_json_text(kept, "worker", "?"),
                   committed > version ? committed - version : 0);
}

static void add_stage(const cJSON *line, const cJSON *stage, struct brg_table *t) {
    const uint64_t committed = brg_json_u64(line, "committed");
    const double bytes = brg_json_number(stage, "bytes_per_token");
    char text[BRG_VIEW_TEXT_BYTES], holders[HOLDERS_BYTES];
    brg_table_cell(t, "%" PRIu64, brg_json_u64(stage, "stage"));
    brg_table_cell(t, "%s", holders_text(stage, brg_json_u64(line, "lanes"), holders));
    brg_table_cell(t, "%s", brg_view_seconds(brg_json_number(stage, "compute_s"), text));
    brg_table_cell(t, "%s", brg_view_seconds(brg_json_number(stage, "wait_s"), text));
    brg_table_cell(t, "%s", bytes > 0 ? brg_view_count(bytes, text) : "-");
    add_kept(stage, "shadow", committed, t);
    add_kept(stage, "parity", committed, t);
    brg_table_cell(t, "%s", brg_json_text(stage, "rung_last", "-"));
}

uint64_t brg_view_stage_of(const cJSON *open, const char *worker) {
    const cJSON *line = brg_json_object(open, "line");
    for (const cJSON *s = brg_json_first(line, "stages"); s != NULL; s = s->next) {
        for (const cJSON *h = brg_json_first(s, "holders"); h != NULL; h = h->next) {
            if (strcmp(brg_json_text(h, "worker", ""), worker) == 0)
                return brg_json_u64(s, "stage");
        }
    }
    return UINT64_MAX;
}

void brg_view_stages(const cJSON *open, FILE *out) {
    static const char *const headings[] = {">STAGE",   "HELD BY", ">COMPUTES", ">WAITS",
                                           ">B/TOKEN", "SHADOW",  "PARITY",    "CAME BACK BY"};
    const cJSON *line = brg_json_object(open, "line");
    struct brg_table t;
    if (line == NULL) return;
    fprintf(out, "\nstages: placement %" PRIu64 ", ", brg_json_u64(line, "generation"));
    if (brg_json_u64(line, "checkpoint") > 0) {
        fprintf(out, "checkpoint of step %" PRIu64, brg_json_u64(line, "checkpoint"));
    } else {
        fputs("no checkpoint yet", out);
    }
    if (brg_json_u64(line, "checkpoint_every") > 0) {
        fprintf(out, ", one every %" PRIu64 " steps", brg_json_u64(line, "checkpoint_every"));
    }
    const cJSON *recoveries = brg_json_object(line, "recoveries"), *rung = NULL;
    const char *between = "; came back by ";
    cJSON_ArrayForEach(rung, recoveries) {
        if (!cJSON_IsNumber(rung) || rung->valuedouble <= 0 || rung->string == NULL) continue;
        fputs(between, out);
        brg_cli_put(out, rung->string);
        fprintf(out, " %.0f", rung->valuedouble);
        between = ", ";
    }
    fputc('\n', out);
    brg_table_init(&t, headings, 8);
    for (const cJSON *s = brg_json_first(line, "stages"); s != NULL; s = s->next) {
        add_stage(line, s, &t);
    }
    brg_table_print(&t, 2, out);
    brg_table_fini(&t);
}
