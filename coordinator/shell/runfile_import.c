/* runfile_import.c - model.from: the sizes of a published model stand in for keys that the file
 * leaves out, and those it gives are held against them.
 *
 *   key given ─────────────► compared with the model (context: at most the model's)
 *   key left out ──────────► the model's value, in the range of its row
 *   all given, offline ────► the model is not looked at: so reads the store what it wrote */
#include "coordinator/shell/runfile_private.h"

#include "model/import.h"

#include <string.h>

static const struct key_state *from_state(const struct reader *r) {
    const uint32_t row = brg_key_find(r, "model.from");
    BRG_ASSERT(row < KEYS_MAX);
    return &r->states[row];
}

/* Reads the model's headers, once. */
static void read_import(struct reader *r) {
    struct brg_import *import = NULL;
    struct brg_import_info info;
    struct brg_why why = {.text = ""};
    if (r->import_state != IMPORT_NOT_READ) return;
    r->import_state = IMPORT_FAILED;
    r->imported = calloc(1, sizeof *r->imported);
    int rc = r->imported == NULL ? brg_why_set(&why, BRG_ENOMEM, "not enough memory to read it")
                                 : brg_import_open(r->config->model_from, &import, &why);
    if (rc == BRG_OK) {
        brg_import_info_of(import, &info);
        brg_import_close(import);
        r->imported->model = info.spec;
        r->import_state = IMPORT_READ;
        return;
    }
    free(r->imported);
    r->imported = NULL;
    brg_fault_add(r->faults, from_state(r)->line, "model", "from", "%s",
                  why.text[0] != '\0' ? why.text : brg_strerror(rc));
}

int brg_run_import_key(struct reader *r, uint32_t row) {
    char text[VALUE_BYTES];
    struct brg_why why;
    const struct key *key = &brg_runfile_keys[row];
    if (strcmp(key->section, "model") != 0 || strcmp(key->name, "from") == 0) return 0;
    if (!from_state(r)->valid) return 0;
    const uint32_t type = r->config->model.type;
    if (type != 0 && type != BRG_MODEL_LLAMA) return 0; /* which is a fault by itself */
    read_import(r);
    if (r->import_state != IMPORT_READ) return 1;
    const int rc = brg_value_parse(key, brg_value_text(key, r->imported, text), r->config, &why);
    r->states[row].valid = rc == BRG_OK;
    if (rc == BRG_OK) return 1;
    brg_fault_add(r->faults, from_state(r)->line, "model", "from",
                  "is a model whose %s cannot be trained here: it %s", key->name, why.text);
    return 1;
}

/* What the file says of key `row` against the model. */
static void compare(struct reader *r, uint32_t row) {
    char ours[VALUE_BYTES], theirs[VALUE_BYTES];
    const struct key *key = &brg_runfile_keys[row];
    if (strcmp(key->section, "model") != 0 || strcmp(key->name, "from") == 0) return;
    if (r->states[row].line == 0 || !r->states[row].valid) return;
    const int is_context = strcmp(key->name, "context") == 0;
    if (is_context && r->config->model.context <= r->imported->model.context) return;
    (void)brg_value_text(key, r->config, ours);
    (void)brg_value_text(key, r->imported, theirs);
    if (strcmp(ours, theirs) == 0) return;
    brg_fault_add(r->faults, r->states[row].line, "model", key->name,
                  is_context ? "%.40s is more than the %.40s that the model of model.from was made "
                               "for: lower it or leave it out"
                             : "%.40s contradicts model.from, whose model has %.40s: leave it out",
                  ours, theirs);
}

void brg_run_import_check(struct reader *r) {
    if (from_state(r)->valid) {
        if ((r->flags & BRG_RUNFILE_CHECK_FILES) != 0) read_import(r);
        for (uint32_t row = 0; r->import_state == IMPORT_READ && row < brg_runfile_key_count; row++)
            compare(r, row);
    }
    free(r->imported);
    r->imported = NULL;
}
