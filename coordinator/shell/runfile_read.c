/* runfile_read.c - from YAML to the struct. Two passes of libyaml over the same bytes:
 *
 *   events    bounds nesting and size, refuses aliases and tags: hostile files end here
 *   document  nodes with marks -> rows of the table -> struct; faults carry the line
 *
 * Within a section the table is walked in its order, so that a key others depend on
 * (model.type) has its value before them. */
#include "coordinator/shell/runfile_private.h"

#include "base/file.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <yaml.h>

/* A key of the file, before the table is asked which row it is. */
struct given {
    const yaml_node_t *value;
    uint32_t line;
    int used;
    uint32_t section;
    char name[BRG_FAULT_KEY_BYTES];
};

/* More keys than rows can only be faults; 64 of them are enough to list. */
#define GIVEN_MAX (KEYS_MAX + BRG_FAULTS_MAX)

struct document {
    struct reader *reader;
    yaml_document_t yaml;
    struct given given[GIVEN_MAX];
    uint32_t count;
};

static uint32_t line_of(const yaml_node_t *node) {
    return (uint32_t)node->start_mark.line + 1;
}

/* --- pass 1: events ------------------------------------------------------------------------- */

static void add_yaml_fault(const yaml_parser_t *parser, struct brg_run_faults *faults) {
    if (parser->error == YAML_MEMORY_ERROR) {
        brg_fault_add(faults, 0, NULL, NULL, "not enough memory to read it: free some, try again");
    } else if (parser->error == YAML_READER_ERROR) {
        brg_fault_add(faults, 0, NULL, NULL, "is not UTF-8 text (%s at byte %zu): save it as UTF-8",
                      parser->problem != NULL ? parser->problem : "unreadable",
                      parser->problem_offset);
    } else {
        brg_fault_add(faults, (uint32_t)parser->problem_mark.line + 1, NULL, NULL,
                      "is not valid YAML at column %zu: %s: check quotes, brackets and "
                      "indentation there",
                      parser->problem_mark.column + 1,
                      parser->problem != NULL ? parser->problem : "syntax error");
    }
}

/* One event: 0 to go on, 1 at the end of the stream, BRG_EINVAL after a fault. */
static int look_at(const yaml_event_t *event, uint32_t *depth, uint32_t *documents,
                   struct brg_run_faults *faults) {
    uint32_t line = (uint32_t)event->start_mark.line + 1;
    const yaml_char_t *tag = NULL;
    switch (event->type) {
    case YAML_STREAM_END_EVENT: return 1;
    case YAML_DOCUMENT_START_EVENT:
        if (++*documents > 1) {
            brg_fault_add(faults, line, NULL, NULL,
                          "a second YAML document begins: keep one run in a file");
            return BRG_EINVAL;
        }
        return 0;
    case YAML_ALIAS_EVENT:
        brg_fault_add(faults, line, NULL, NULL,
                      "aliases (*name) are not allowed: write the value out");
        return BRG_EINVAL;
    case YAML_SCALAR_EVENT: tag = event->data.scalar.tag; break;
    case YAML_SEQUENCE_START_EVENT: tag = event->data.sequence_start.tag; break;
    case YAML_MAPPING_START_EVENT: tag = event->data.mapping_start.tag; break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: (*depth)--; return 0;
    default: return 0;
    }
    if (tag != NULL) {
        brg_fault_add(faults, line, NULL, NULL,
                      "tags (!name) are not allowed: write the value only");
        return BRG_EINVAL;
    }
    if (event->type != YAML_SCALAR_EVENT && ++*depth > BRG_RUNFILE_DEPTH_MAX) {
        brg_fault_add(faults, line, NULL, NULL,
                      "is nested deeper than %u levels: a run file has sections with keys, no more",
                      BRG_RUNFILE_DEPTH_MAX);
        return BRG_EINVAL;
    }
    return 0;
}

/* Goes through all events without building anything. errors: BRG_EINVAL with a fault */
static int check_events(const char *text, size_t size_bytes, struct brg_run_faults *faults) {
    yaml_parser_t parser;
    yaml_event_t event;
    uint32_t depth = 0, documents = 0;
    int state = 0;
    if (!yaml_parser_initialize(&parser)) return BRG_ENOMEM;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size_bytes);
    for (uint32_t events = 0; state == 0; events++) {
        if (!yaml_parser_parse(&parser, &event)) {
            add_yaml_fault(&parser, faults);
            state = parser.error == YAML_MEMORY_ERROR ? BRG_ENOMEM : BRG_EINVAL;
            break;
        }
        if (events == BRG_RUNFILE_EVENTS_MAX) {
            brg_fault_add(faults, (uint32_t)event.start_mark.line + 1, NULL, NULL,
                          "holds more than %u keys and values up to here: this is no run file",
                          BRG_RUNFILE_EVENTS_MAX / 2);
            state = BRG_EINVAL;
        } else {
            state = look_at(&event, &depth, &documents, faults);
        }
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return state == 1 ? BRG_OK : state;
}

/* --- pass 2: which keys are given ----------------------------------------------------------- */

uint32_t brg_runfile_section_find(const char *name) {
    for (uint32_t i = 0; brg_runfile_sections[i].name != NULL; i++) {
        BRG_ASSERT(i < SECTIONS_MAX);
        if (strcmp(brg_runfile_sections[i].name, name) == 0) return i;
    }
    return SECTIONS_MAX;
}

static int in_section(const struct key *key, uint32_t section) {
    return strcmp(key->section, brg_runfile_sections[section].name) == 0;
}

/* The key as text. errors: BRG_EINVAL with a fault where it is none */
static int key_text(struct document *d, uint32_t section, int node, const char **text,
                    uint32_t *line) {
    const yaml_node_t *key = yaml_document_get_node(&d->yaml, node);
    *line = line_of(key);
    *text = key->type == YAML_SCALAR_NODE ? (const char *)key->data.scalar.value : "";
    if (key->type == YAML_SCALAR_NODE && strlen(*text) == key->data.scalar.length && **text != 0) {
        return BRG_OK;
    }
    brg_fault_add(d->reader->faults, *line, brg_runfile_sections[section].name, NULL,
                  "has a key that is not a plain word: write it as  name: value");
    return BRG_EINVAL;
}

static void remember(struct document *d, uint32_t section, const char *name, uint32_t line,
                     const yaml_node_t *value) {
    struct brg_run_faults *faults = d->reader->faults;
    char cut[BRG_FAULT_KEY_BYTES];
    (void)snprintf(cut, sizeof cut, "%s", name);
    for (uint32_t i = 0; i < d->count; i++) {
        if (d->given[i].section == section && strcmp(d->given[i].name, cut) == 0) {
            brg_fault_add(faults, line, brg_runfile_sections[section].name, name,
                          "is given twice, first on line %" PRIu32 ": remove one of them",
                          d->given[i].line);
            return;
        }
    }
    if (d->count == GIVEN_MAX) {
        brg_fault_add(faults, line, brg_runfile_sections[section].name, name,
                      "is one key too many: a run file has at most %u", GIVEN_MAX);
        return;
    }
    struct given *g = &d->given[d->count++];
    *g = (struct given){.value = value, .line = line, .section = section};
    memcpy(g->name, cut, sizeof cut);
}

static void not_a_section(struct reader *r, uint32_t section, uint32_t line) {
    const char *name = brg_runfile_sections[section].name;
    const char *first = "key";
    for (uint32_t i = brg_runfile_key_count; i-- > 0;) {
        if (in_section(&brg_runfile_keys[i], section)) first = brg_runfile_keys[i].name;
    }
    brg_fault_add(r->faults, line, name, NULL, "must hold keys, such as  %s: {%s: ...}", name,
                  first);
}

static void collect_section(struct document *d, uint32_t section, uint32_t line,
                            const yaml_node_t *value) {
    struct reader *r = d->reader;
    const char *name = brg_runfile_sections[section].name;
    if (r->section_lines[section] != 0) {
        brg_fault_add(r->faults, line, name, NULL,
                      "is given twice, first on line %" PRIu32 ": join them",
                      r->section_lines[section]);
        return;
    }
    r->section_lines[section] = line;
    if (brg_runfile_sections[section].reason != NULL) {
        brg_fault_add(r->faults, line, name, NULL, "%s", brg_runfile_sections[section].reason);
        return;
    }
    if (value->type == YAML_SCALAR_NODE && strcmp(name, "code") == 0 &&
        strcmp((const char *)value->data.scalar.value, "auto") == 0) {
        remember(d, section, "scheme", line, value); /* short for  code: {scheme: auto} */
        return;
    }
    if (value->type != YAML_MAPPING_NODE) {
        r->unread[section] = 1;
        not_a_section(r, section, line);
        return;
    }
    for (const yaml_node_pair_t *p = value->data.mapping.pairs.start;
         p < value->data.mapping.pairs.top; p++) {
        const char *key;
        uint32_t key_line;
        if (key_text(d, section, p->key, &key, &key_line) != BRG_OK) continue;
        remember(d, section, key, key_line, yaml_document_get_node(&d->yaml, p->value));
    }
}

static void collect(struct document *d, const yaml_node_t *root) {
    for (const yaml_node_pair_t *p = root->data.mapping.pairs.start;
         p < root->data.mapping.pairs.top; p++) {
        const char *key;
        uint32_t line;
        if (key_text(d, 0, p->key, &key, &line) != BRG_OK) continue;
        const yaml_node_t *value = yaml_document_get_node(&d->yaml, p->value);
        uint32_t section = brg_runfile_section_find(key);
        if (section > 0 && section < SECTIONS_MAX) {
            collect_section(d, section, line, value);
        } else {
            remember(d, 0, key, line, value);
        }
    }
}

/* --- pass 2: values ------------------------------------------------------------------------- */

/* The node's text. errors: BRG_EINVAL with a fault where it is no single value */
static int scalar_text(struct reader *r, const struct key *key, const yaml_node_t *node,
                       const char **text) {
    char kind[VALUE_BYTES];
    const char *value = node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : "";
    *text = value;
    if (node->type != YAML_SCALAR_NODE) {
        brg_fault_add(r->faults, line_of(node), key->section, key->name,
                      "must be a single value: %s", brg_value_kind(key, kind));
        return BRG_EINVAL;
    }
    if (strlen(value) != node->data.scalar.length) {
        brg_fault_add(r->faults, line_of(node), key->section, key->name,
                      "holds a NUL character: remove it");
        return BRG_EINVAL;
    }
    int plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (plain && (*value == 0 || strcmp(value, "~") == 0 || strcmp(value, "null") == 0)) {
        brg_fault_add(r->faults, line_of(node), key->section, key->name,
                      "has no value: it must be %s", brg_value_kind(key, kind));
        return BRG_EINVAL;
    }
    return BRG_OK;
}

/* What a relative path means does not depend on where a program was started. */
static int absolute(const struct reader *r, const char *text, char *out, size_t size,
                    struct brg_why *why) {
    int n = text[0] == '/' || text[0] == 0 || r->folder == NULL
                ? snprintf(out, size, "%s", text)
                : snprintf(out, size, "%s/%s", r->folder, text);
    if (n < 0 || (size_t)n >= size) {
        return brg_why_set(why, BRG_EINVAL,
                           "is longer than %u bytes with its folder: use a shorter path",
                           BRG_PATH_BYTES - 1);
    }
    return BRG_OK;
}

static int read_scalar(struct reader *r, const struct key *key, const yaml_node_t *node) {
    char path[BRG_PATH_BYTES];
    struct brg_why why;
    const char *text;
    if (scalar_text(r, key, node, &text) != BRG_OK) return BRG_EINVAL;
    int rc = BRG_OK;
    if (key->type == KEY_PATH) {
        rc = absolute(r, text, path, sizeof path, &why);
        text = path;
    }
    if (rc == BRG_OK) rc = brg_value_parse(key, text, r->config, &why);
    if (rc != BRG_OK) {
        brg_fault_add(r->faults, line_of(node), key->section, key->name, "%s", why.text);
    }
    return rc;
}

/* The items of a list that must not be empty; NULL after a fault. */
static const yaml_node_item_t *list_items(struct reader *r, const struct key *key,
                                          const yaml_node_t *node, size_t *count) {
    char kind[VALUE_BYTES];
    *count = 0;
    if (node->type == YAML_SEQUENCE_NODE) {
        *count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    }
    if (*count > 0) return node->data.sequence.items.start;
    brg_fault_add(r->faults, line_of(node), key->section, key->name, "must be %s",
                  brg_value_kind(key, kind));
    return NULL;
}

/* A list whose items are appended: widths, or the rungs of a ladder. */
static int read_list(struct document *d, const struct key *key, const yaml_node_t *node) {
    struct reader *r = d->reader;
    size_t count;
    int rc = BRG_OK;
    if (key->type == KEY_WIDTHS) r->config->model.width_count = 0;
    if (key->type == KEY_LADDER) r->config->recovery.ladder.count = 0;
    if (node->type == YAML_SCALAR_NODE) return read_scalar(r, key, node); /* hidden: 128 */
    const yaml_node_item_t *items = list_items(r, key, node, &count);
    if (items == NULL) return BRG_EINVAL;
    for (size_t i = 0; i < count && rc == BRG_OK; i++) {
        rc = read_scalar(r, key, yaml_document_get_node(&d->yaml, items[i]));
    }
    return rc;
}

/* One value for each model: config->models is known, its row precedes. */
static int read_sweep(struct document *d, const struct key *key, const yaml_node_t *node) {
    struct reader *r = d->reader;
    const char *text;
    struct brg_why why;
    size_t count;
    const yaml_node_item_t *items = list_items(r, key, node, &count);
    if (items == NULL) return BRG_EINVAL;
    if (count != r->config->models) {
        brg_fault_add(r->faults, line_of(node), key->section, key->name,
                      "has %zu values for %" PRIu32 " models: give each model one", count,
                      r->config->models);
        return BRG_EINVAL;
    }
    for (uint32_t i = 0; i < count; i++) {
        const yaml_node_t *item = yaml_document_get_node(&d->yaml, items[i]);
        if (scalar_text(r, key, item, &text) != BRG_OK) return BRG_EINVAL;
        if (brg_value_parse_item(key, i, text, r->config, &why) == BRG_OK) continue;
        brg_fault_add(r->faults, line_of(item), key->section, key->name, "%s", why.text);
        return BRG_EINVAL;
    }
    return BRG_OK;
}

static struct given *find_given(struct document *d, const struct key *key) {
    for (uint32_t i = 0; i < d->count; i++) {
        struct given *g = &d->given[i];
        if (in_section(key, g->section) && strcmp(g->name, key->name) == 0) return g;
    }
    return NULL;
}

uint32_t brg_key_find(const struct reader *r, const char *path) {
    const char *dot = strchr(path, '.');
    size_t n = dot != NULL ? (size_t)(dot - path) : 0;
    const char *name = dot != NULL ? dot + 1 : path;
    uint32_t first = KEYS_MAX;
    for (uint32_t i = 0; i < brg_runfile_key_count; i++) {
        const struct key *key = &brg_runfile_keys[i];
        if (strlen(key->section) != n || strncmp(key->section, path, n) != 0) continue;
        if (strcmp(key->name, name) != 0) continue;
        if (r != NULL && r->states[i].applies) return i;
        if (first == KEYS_MAX) first = i;
    }
    return first;
}

/* 1 where the key at `path` has one of the numbers in `mask`, and has a say itself. A condition
 * names a row that precedes its own, so that this ends. */
static int holds(const struct brg_run_config *config, const char *path, uint32_t mask) {
    const uint32_t other = brg_key_find(NULL, path);
    BRG_ASSERT(other < KEYS_MAX);
    const struct key *key = &brg_runfile_keys[other];
    if (key->type == KEY_LADDER) {
        const struct brg_ladder_config *ladder = &config->recovery.ladder;
        uint32_t rungs = 0;
        for (uint32_t i = 0; i < ladder->count && i < BRG_LADDER_RUNGS_MAX; i++) {
            rungs |= ladder->rungs[i] < 32 ? UINT32_C(1) << ladder->rungs[i] : 0;
        }
        return (rungs & mask) != 0 && brg_key_applies(config, key);
    }
    const uint32_t number = brg_key_number(config, key);
    return number < 32 && (mask >> number & 1u) != 0 && brg_key_applies(config, key);
}

int brg_key_applies(const struct brg_run_config *config, const struct key *key) {
    if (key->when == NULL || holds(config, key->when, key->when_mask)) return 1;
    for (const struct key_also *also = brg_runfile_also; also->path != NULL; also++) {
        const uint32_t row = brg_key_find(NULL, also->path);
        if (key == &brg_runfile_keys[row] && holds(config, also->when, also->mask)) return 1;
    }
    return 0;
}

static void read_missing(struct reader *r, uint32_t row) {
    const struct key *key = &brg_runfile_keys[row];
    uint32_t section = brg_runfile_section_find(key->section);
    char kind[VALUE_BYTES];
    if (brg_run_import_key(r, row)) return;
    if (key->fallback != NULL) {
        int rc = brg_value_parse(key, key->fallback, r->config, NULL);
        BRG_ASSERT(rc == BRG_OK); /* the table's own defaults are in range */
        r->states[row].valid = 1;
    } else if (brg_run_derive_early(r, key)) {
        r->states[row].valid = 1;
    } else if (key->derived == NULL && !r->unread[section]) {
        brg_fault_add(r->faults, r->section_lines[section], key->section, key->name,
                      "is missing: it must be %s", brg_value_kind(key, kind));
    }
}

static void read_row(struct document *d, uint32_t row) {
    struct reader *r = d->reader;
    const struct key *key = &brg_runfile_keys[row];
    struct key_state *state = &r->states[row];
    struct given *g = find_given(d, key);
    if (key->when != NULL) {
        uint32_t other = brg_key_find(r, key->when);
        const struct key_state *depends = &r->states[other];
        if (depends->unsure || (!depends->valid && depends->applies)) {
            if (g != NULL) g->used = 1;
            state->unsure = 1;
            return;
        }
    }
    if (!brg_key_applies(r->config, key)) return;
    state->applies = 1;
    if (g == NULL) {
        read_missing(r, row);
        return;
    }
    g->used = 1;
    state->line = g->line;
    int rc;
    if (key->type == KEY_WIDTHS || key->type == KEY_LADDER) {
        rc = read_list(d, key, g->value);
    } else if (key->type == KEY_SEEDS || key->type == KEY_RATES) {
        rc = read_sweep(d, key, g->value);
    } else {
        rc = read_scalar(r, key, g->value);
    }
    state->valid = rc == BRG_OK;
}

/* --- what is left over ---------------------------------------------------------------------- */

static void no_effect(struct reader *r, const struct given *g, const struct key *key) {
    char value[VALUE_BYTES];
    const struct key *other = &brg_runfile_keys[brg_key_find(NULL, key->when)];
    /* Where the other key has no say itself, what keeps it from it is the reason. */
    const char *when = key->when;
    while (other->when != NULL && !brg_key_applies(r->config, other)) {
        when = other->when;
        other = &brg_runfile_keys[brg_key_find(NULL, when)];
    }
    (void)brg_value_text(other, r->config, value);
    /* The other model's word for the same thing is the likeliest cure. */
    const char *instead = NULL;
    for (uint32_t i = 0; i < brg_runfile_key_count; i++) {
        if (brg_runfile_keys[i].offset == key->offset && r->states[i].applies) {
            instead = brg_runfile_keys[i].name;
        }
    }
    const int is_line = strcmp(key->section, "pipeline") == 0; /* whose word may be forgotten */
    if (instead != NULL) {
        brg_fault_add(r->faults, g->line, key->section, key->name,
                      "has no effect where %s is %s: use %s there", when, value, instead);
    } else if (is_line && strcmp(when, "kind") == 0) {
        brg_fault_add(r->faults, g->line, key->section, key->name,
                      "has no effect where %s is %s: write  kind: pipeline, or remove it", when,
                      value);
    } else {
        brg_fault_add(r->faults, g->line, key->section, key->name,
                      "has no effect where %s is %s: remove it", when, value);
    }
}

static void unknown(struct reader *r, const struct given *g) {
    const char *section = brg_runfile_sections[g->section].name;
    const char *words[KEYS_MAX + SECTIONS_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < brg_runfile_key_count; i++) {
        if (in_section(&brg_runfile_keys[i], g->section)) words[count++] = brg_runfile_keys[i].name;
    }
    for (uint32_t i = 1; g->section == 0 && brg_runfile_sections[i].name != NULL; i++) {
        words[count++] = brg_runfile_sections[i].name;
    }
    const char *near = brg_suggest(g->name, words, count);
    if (near != NULL) {
        brg_fault_add(r->faults, g->line, section, g->name,
                      "is not a key of a run file; did you mean %s?", near);
        return;
    }
    for (uint32_t i = 0; i < brg_runfile_key_count; i++) {
        const struct key *key = &brg_runfile_keys[i];
        if (strcmp(key->name, g->name) != 0) continue;
        brg_fault_add(
            r->faults, g->line, section, g->name, "stands in the wrong place: move it %s%s",
            *key->section != 0 ? "into section " : "to the top of the file", key->section);
        return;
    }
    brg_fault_add(r->faults, g->line, section, g->name,
                  "is not a key of a run file: remove it, or see docs/CONFIG.md");
}

static void read_left_over(struct document *d) {
    for (uint32_t i = 0; i < d->count; i++) {
        struct given *g = &d->given[i];
        if (g->used) continue;
        const struct key *known = NULL;
        for (uint32_t k = 0; k < brg_runfile_key_count && known == NULL; k++) {
            const struct key *key = &brg_runfile_keys[k];
            if (in_section(key, g->section) && strcmp(key->name, g->name) == 0) known = key;
        }
        if (known != NULL) {
            no_effect(d->reader, g, known);
        } else {
            unknown(d->reader, g);
        }
    }
}

static void read_document(struct document *d) {
    struct reader *r = d->reader;
    const yaml_node_t *root = yaml_document_get_root_node(&d->yaml);
    if (root == NULL || root->type != YAML_MAPPING_NODE) {
        brg_fault_add(r->faults, root != NULL ? line_of(root) : 0, NULL, NULL,
                      root != NULL ? "must be keys with values, such as  run: my-run"
                                   : "is empty: see docs/CONFIG.md for what a run file holds");
        return;
    }
    collect(d, root);
    for (uint32_t row = 0; row < brg_runfile_key_count; row++) read_row(d, row);
    read_left_over(d);
    brg_run_import_check(r);
    brg_run_derive(r);
    brg_run_cross_check(r);
}

int brg_runfile_parse(const char *text, size_t size_bytes, const char *folder, uint32_t flags,
                      struct brg_run_config *out, struct brg_run_faults *faults) {
    int rc = BRG_OK;
    yaml_parser_t parser;
    struct reader reader = {.config = out, .faults = faults, .folder = folder, .flags = flags};
    struct document *d = NULL;

    memset(out, 0, sizeof *out);
    memset(faults, 0, sizeof *faults);
    if (size_bytes > BRG_RUNFILE_BYTES_MAX) {
        brg_fault_add(faults, 0, NULL, NULL,
                      "is %zu bytes long, at most %u are allowed: this is "
                      "no run file",
                      size_bytes, BRG_RUNFILE_BYTES_MAX);
        return BRG_EINVAL;
    }
    rc = check_events(text, size_bytes, faults);
    if (rc != BRG_OK) goto out;
    d = calloc(1, sizeof *d);
    if (d == NULL || !yaml_parser_initialize(&parser)) {
        rc = BRG_ENOMEM;
        goto out;
    }
    d->reader = &reader;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size_bytes);
    if (yaml_parser_load(&parser, &d->yaml)) {
        read_document(d);
        yaml_document_delete(&d->yaml);
        rc = faults->count > 0 ? BRG_EINVAL : BRG_OK;
    } else {
        add_yaml_fault(&parser, faults);
        rc = parser.error == YAML_MEMORY_ERROR ? BRG_ENOMEM : BRG_EINVAL;
    }
    yaml_parser_delete(&parser);
out:
    if (rc == BRG_ENOMEM && faults->count == 0) {
        brg_fault_add(faults, 0, NULL, NULL, "not enough memory to read it: free some, try again");
    }
    free(d);
    brg_faults_sort(faults);
    if (rc != BRG_OK) memset(out, 0, sizeof *out);
    return rc;
}

int brg_runfile_read(const char *path, uint32_t flags, struct brg_run_config *out,
                     struct brg_run_faults *faults) {
    uint8_t *text = NULL;
    size_t size_bytes = 0;
    char *folder = realpath(path, NULL);
    memset(out, 0, sizeof *out);
    memset(faults, 0, sizeof *faults);
    int rc = folder != NULL ? brg_file_read(path, BRG_RUNFILE_BYTES_MAX, &text, &size_bytes)
                            : brg_file_error(errno);
    if (rc != BRG_OK) {
        brg_fault_add(faults, 0, NULL, NULL, "cannot be read: %s: check the path", strerror(errno));
        goto out;
    }
    char *slash = strrchr(folder, '/');
    BRG_ASSERT(slash != NULL); /* realpath is absolute */
    *slash = 0;
    rc = brg_runfile_parse((const char *)text, size_bytes, folder, flags, out, faults);
out:
    free(text);
    free(folder);
    return rc;
}
