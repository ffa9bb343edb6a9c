/* runfile_private.h - the table of keys and what the files runfile_*.c share; nobody else's. */
#ifndef BRG_RUNFILE_PRIVATE_H
#define BRG_RUNFILE_PRIVATE_H

#include "coordinator/shell/runfile.h"

#define KEYS_MAX 128u
#define SECTIONS_MAX 24u
#define VALUE_BYTES 3200u /* room for any value as text: a path with each byte escaped */

/* How a value is written in the file and kept in the struct. */
enum key_type {
    KEY_COUNT = 1, /* whole number -> uint32_t */
    KEY_NUMBER,    /* whole number -> uint64_t */
    KEY_REAL,      /* decimal number -> float */
    KEY_MILLIONTH, /* decimal number -> uint32_t in millionths */
    KEY_SHARE,     /* 5% -> float */
    KEY_SHARE_F64, /* 5% -> double */
    KEY_DURATION,  /* 30s -> uint64_t in ns */
    KEY_CHOICE,    /* a word of `choices` -> uint32_t */
    KEY_BOOL,      /* true or false -> uint32_t */
    KEY_NAME,      /* -> char [BRG_RUN_NAME_BYTES] */
    KEY_PATH,      /* -> char [BRG_PATH_BYTES] */
    KEY_VOCAB,     /* `bytes` or a whole number -> uint32_t */
    KEY_WIDTHS,    /* [128, 64] -> model.widths and model.width_count */
    KEY_SEEDS,     /* [1, 2], one a model -> uint64_t [BRG_MODELS_MAX] */
    KEY_RATES,     /* [1e-3, 3e-3], one a model -> float [BRG_MODELS_MAX] */
    KEY_TIMEOUT,   /* auto or 30s -> uint64_t in ns; auto: 0 */
    KEY_LADDER,    /* [shadow, checkpoint] -> struct brg_ladder_config, its rungs */
};

/* A word and its number. With a reason: known, but not available in this version. */
struct choice {
    const char *word;
    uint32_t number;
    const char *reason;
};

struct key {
    const char *section; /* "" for the top of the file */
    const char *name;
    enum key_type type;
    size_t offset;                /* in struct brg_run_config */
    double min, max;              /* of the number, in the unit of the struct; exact below 2^53 */
    const struct choice *choices; /* ends with word NULL */
    const char *fallback;         /* as it would stand in the file; NULL: see derived */
    const char *derived;          /* where the default comes from; NULL as well: required */
    const char *when;             /* "model.type": the key applies only where this other key ... */
    uint32_t when_mask;           /* ... has one of these numbers, bit by bit; of a KEY_LADDER, one
                                   * of these rungs. It precedes this one, and its own condition
                                   * must hold as well */
    const char *help;
};

/* A key that applies in one more case than its row says. */
struct key_also {
    const char *path, *when;
    uint32_t mask;
};

extern const struct key_also brg_runfile_also[]; /* ends with path NULL */

extern const struct key brg_runfile_keys[]; /* keys that others depend on come first */
extern const uint32_t brg_runfile_key_count;

/* A section of the file: its keys are in the table. */
struct section {
    const char *name;
    const char *reason; /* not NULL: refused, and why */
    const char *help;
};

extern const struct section brg_runfile_sections[]; /* ends with name NULL */

/* What the reader knows of one row of the table. */
struct key_state {
    uint32_t line; /* of the key in the file; 0: not given */
    int applies;   /* its condition holds */
    int unsure;    /* what its condition is about has a fault, so nobody can tell */
    int valid;     /* it has a value in the struct */
};

enum import_state { IMPORT_NOT_READ = 0, IMPORT_READ = 1, IMPORT_FAILED = 2 };

struct reader {
    struct brg_run_config *config;
    struct brg_run_faults *faults;
    const char *folder; /* NULL: leave paths alone */
    uint32_t flags;
    uint32_t import_state;           /* of model.from: enum import_state */
    struct brg_run_config *imported; /* IMPORT_READ: its model.from's sizes, nothing else; own */
    struct key_state states[KEYS_MAX];
    int unread[SECTIONS_MAX]; /* 1: given, but not as a section: what is missing there is unknown */
    uint32_t section_lines[SECTIONS_MAX]; /* by index in brg_runfile_sections; 0: not given */
};

/* brg_fault_add - one more fault; beyond the bound it is only counted. section and name may be
 * NULL. The text is cleaned of control characters. */
BRG_PRINTF(5, 6)
void brg_fault_add(struct brg_run_faults *faults, uint32_t line, const char *section,
                   const char *name, const char *format, ...);
void brg_faults_sort(struct brg_run_faults *faults);

/* brg_suggest - the word of `words` [count] that is nearest to `text`, or NULL where none is near.
 * cost: O(count * length^2), lengths up to 32 */
const char *brg_suggest(const char *text, const char *const *words, size_t count);

/* brg_key_find - the index of the row of section and name that applies, else the first with these
 * names, else KEYS_MAX. `path` is "section.name" or "name". */
uint32_t brg_key_find(const struct reader *r, const char *path);

/* brg_runfile_section_find - the index in brg_runfile_sections, or SECTIONS_MAX. */
uint32_t brg_runfile_section_find(const char *name);

/* What the reader knows of the key at `path`, "section.name" or "name"; asserts: there is one. */
const struct key_state *brg_key_state(const struct reader *r, const char *path);
int brg_key_valid(const struct reader *r, const char *path); /* 1: it has a value */
int brg_key_given(const struct reader *r, const char *path); /* 1: it is in the file */

/* brg_key_line - line of the first of two keys that is in the file, else of the first one's
 * section; other may be NULL. */
uint32_t brg_key_line(const struct reader *r, const char *path, const char *other);

/* brg_key_wants - 1 where the key applies and was left out, no imported model has answered for it,
 * and what its default follows from (needs, may be NULL) has a value. */
int brg_key_wants(const struct reader *r, const char *path, const char *needs);

/* brg_key_derived - a value that was derived has been filled in. */
void brg_key_derived(struct reader *r, const char *path);

/* brg_key_number - the value of a KEY_CHOICE, KEY_COUNT, KEY_BOOL or KEY_VOCAB row. */
uint32_t brg_key_number(const struct brg_run_config *config, const struct key *key);

/* brg_key_applies - whether the row's condition holds for the numbers in `config`. */
int brg_key_applies(const struct brg_run_config *config, const struct key *key);

/* brg_value_parse - `text` into the struct. KEY_WIDTHS: one item, appended.
 * errors: BRG_EINVAL, with the sentence in why; the struct is untouched */
BRG_CHECK int brg_value_parse(const struct key *key, const char *text,
                              struct brg_run_config *config, struct brg_why *why);

/* brg_value_parse_item - item `index` of a KEY_SEEDS or KEY_RATES list; the rest as above.
 * asserts: index < BRG_MODELS_MAX */
BRG_CHECK int brg_value_parse_item(const struct key *key, uint32_t index, const char *text,
                                   struct brg_run_config *config, struct brg_why *why);

/* brg_value_text - the value as it would stand in the file; a path or name quoted where needed.
 * shape: out [VALUE_BYTES]; returns out */
const char *brg_value_text(const struct key *key, const struct brg_run_config *config, char *out);

/* brg_value_kind - what to write there, for people: "a number from 1 to 1024".
 * shape: out [VALUE_BYTES]; returns out */
const char *brg_value_kind(const struct key *key, char *out);

/* brg_run_derive_early - fills in a key that others depend on before they are read, where it was
 * not given: 1 where `key` is such a key, else 0. */
int brg_run_derive_early(struct reader *r, const struct key *key);

/* brg_run_import_key - a key of section model that was not given, from the model that model.from
 * names: 1 where such a model answers for it, with the value or with a fault; else 0. */
int brg_run_import_key(struct reader *r, uint32_t row);

/* brg_run_import_check - what was given against that model; with BRG_RUNFILE_CHECK_FILES the model
 * must be there. Adds faults, and frees what was read. */
void brg_run_import_check(struct reader *r);

/* brg_run_derive - fills in what was not given and follows from the rest. */
void brg_run_derive(struct reader *r);

/* runfile_line.c: the same two for `kind: pipeline`. brg_run_line_check is one of
 * brg_run_cross_check's; brg_run_line_whole needs all else to be right, as check_whole does. */
void brg_run_line_derive(struct reader *r);
void brg_run_line_check(struct reader *r);
void brg_run_line_whole(struct reader *r);

/* 1 for `kind: pipeline`. */
static inline int brg_run_is_line(const struct brg_run_config *config) {
    return config->kind == BRG_RUN_KIND_PIPELINE;
}

/* brg_run_line_slots - microbatches that a holder of `stage` has under way at most. */
uint32_t brg_run_line_slots(const struct brg_run_config *config, uint32_t stage);

/* brg_run_line_print - the prediction of a pipeline for people: stages, links, checkpoints. */
void brg_run_line_print(const struct brg_run_config *config, FILE *out);

/* brg_run_cross_check - the rules between keys; adds faults. Looks only at keys that are valid. */
void brg_run_cross_check(struct reader *r);

#endif
