#include "cli/sim_profile.h"

#include "base/file.h"
#include "base/units.h"
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define PREFIX "gilbert-elliott:"
#define NAME "gilbert-elliott"
#define TEXT_BYTES 512u

enum form { FORM_NUMBER = 1, FORM_SECONDS, FORM_STRAGGLE, FORM_SEED };

/* Where the value of a key goes. */
struct key {
    const char *name;
    enum form form;
    size_t at; /* of a double in brg_profile_ge */
};

#define AT(field) offsetof(struct brg_profile_ge, field)
static const struct key keys[] = {
    {"p", FORM_NUMBER, AT(enter)},
    {"q", FORM_NUMBER, AT(leave)},
    {"shape", FORM_NUMBER, AT(shape)},
    {"base", FORM_SECONDS, AT(base_s)},
    {"body", FORM_SECONDS, AT(body_s)},
    {"sigma", FORM_NUMBER, AT(body_sigma)},
    {"slow", FORM_SECONDS, AT(slow_s)},
    {"tail", FORM_SECONDS, AT(tail_s)},
    {"stall", FORM_NUMBER, AT(stall)},
    {"stall-length", FORM_SECONDS, AT(stall_s)},
    {"alpha", FORM_SECONDS, AT(alpha_s)},
    {"jitter", FORM_SECONDS, AT(jitter_s)},
    {"speed", FORM_NUMBER, AT(speed_sigma)},
    {"straggle", FORM_STRAGGLE, 0},
    {"seed", FORM_SEED, 0},
};
#define KEYS (sizeof keys / sizeof *keys)

static const struct key *find_key(const char *name) {
    for (size_t i = 0; i < KEYS; i++) {
        if (strcmp(keys[i].name, name) == 0) return &keys[i];
    }
    return NULL;
}

static int unknown_key(const char *name, struct brg_why *why) {
    const char *names[KEYS];
    for (size_t i = 0; i < KEYS; i++) names[i] = keys[i].name;
    const char *near = brg_cli_closest(name, names, KEYS);
    return brg_why_set(why, BRG_EINVAL,
                       "the delay profile has no setting '%s'%s%s%s; 'brigade sim rounds --help' "
                       "lists them",
                       name, near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
                       near != NULL ? "'?" : "");
}

static int set_key(struct brg_profile_ge *ge, const struct key *key, const char *value,
                   struct brg_why *why) {
    double *field = (double *)(void *)((char *)ge + key->at);
    char *end = NULL;
    uint64_t ns;
    switch (key->form) {
    case FORM_SECONDS:
        if (brg_duration_parse(value, &ns) != BRG_OK) break;
        *field = (double)ns * 1e-9;
        return BRG_OK;
    case FORM_NUMBER:
        *field = strtod(value, &end);
        if (end == value || *end != '\0' || !isfinite(*field)) break;
        return BRG_OK;
    case FORM_STRAGGLE:
        if (strcmp(value, "add") != 0 && strcmp(value, "multiply") != 0) break;
        ge->multiply = *value == 'm';
        return BRG_OK;
    case FORM_SEED:
        errno = 0;
        ge->seed = strtoull(value, &end, 10);
        if (end == value || *end != '\0' || *value == '-' || errno != 0) break;
        return BRG_OK;
    }
    static const char *const hints[] = {"", "a number", BRG_UNITS_DURATION_HINT, "add or multiply",
                                        "a whole number"};
    return brg_why_set(why, BRG_EINVAL, "the delay profile's %s is '%s'; it has to be %s",
                       key->name, value, hints[key->form]);
}

int brg_sim_profile_parse_ge(const char *text, struct brg_profile_ge *ge, struct brg_why *why) {
    char copy[TEXT_BYTES], *rest = NULL;
    if (strcmp(text, NAME) == 0) return BRG_OK;
    BRG_ASSERT(strncmp(text, PREFIX, strlen(PREFIX)) == 0);
    const char *list = text + strlen(PREFIX);
    if (strlen(list) >= sizeof copy) {
        return brg_why_set(why, BRG_EINVAL, "the delay profile is longer than %u characters",
                           TEXT_BYTES);
    }
    memcpy(copy, list, strlen(list) + 1);
    for (char *item = strtok_r(copy, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest)) {
        char *value = strchr(item, '=');
        if (value == NULL) {
            return brg_why_set(why, BRG_EINVAL,
                               "the delay profile has '%s' where KEY=VALUE belongs", item);
        }
        *value++ = '\0';
        const struct key *key = find_key(item);
        if (key == NULL) return unknown_key(item, why);
        const int rc = set_key(ge, key, value, why);
        if (rc != BRG_OK) return rc;
    }
    return BRG_OK;
}

static int out_of_memory(struct brg_why *why) {
    return brg_why_set(why, BRG_ENOMEM, "there is not enough memory for this many delays");
}

/* A recording: its cells as the tuner would see them. */
static int fit_file(const struct brg_points *points, double alpha_s, uint64_t seed,
                    struct brg_sim_profile *out, struct brg_why *why) {
    struct brg_profile_fit fit = {.points = points->items,
                                  .count = points->count,
                                  .first_round = UINT32_MAX,
                                  .rounds = points->rounds,
                                  .n = points->workers,
                                  .alpha_s = alpha_s,
                                  .seed = seed};
    for (uint32_t i = 0; i < points->count; i++) {
        if (points->items[i].round < fit.first_round) fit.first_round = points->items[i].round;
    }
    const size_t bytes = brg_profile_fit_bytes(fit.n, fit.rounds);
    void *block = malloc(bytes);
    struct brg_profile_cell *cells = malloc((size_t)fit.n * fit.rounds * sizeof *cells);
    struct brg_arena arena;
    int rc = BRG_ENOMEM;
    if (block == NULL || cells == NULL) {
        rc = out_of_memory(why);
        goto out;
    }
    brg_arena_init(&arena, block, bytes);
    rc = brg_profile_fit(&fit, &arena, cells, &out->profile, &out->summary);
    if (rc != BRG_OK) {
        rc = brg_why_set(why, BRG_EINVAL, "no worker of the recording has answered in time");
        goto out;
    }
    cells = NULL; /* out's from here on */
out:
    free(block);
    free(cells);
    return rc;
}

static int load_file(const char *path, double alpha_s, uint64_t seed, struct brg_sim_profile *out,
                     struct brg_why *why) {
    uint8_t *text = NULL;
    struct brg_point *items = NULL;
    struct brg_points points;
    struct brg_why line;
    size_t size = 0;

    int rc = brg_file_read(path, BRG_SIM_FILE_BYTES_MAX, &text, &size);
    if (rc != BRG_OK) {
        return brg_why_set(why, rc,
                           "%s cannot be read: %s. A profile is a file of delays or begins with "
                           "'" PREFIX "'",
                           path, strerror(errno));
    }
    const uint32_t room = brg_points_count_lines((const char *)text, size);
    items = malloc(room * sizeof *items);
    if (items == NULL) {
        rc = out_of_memory(why);
        goto out;
    }
    rc = brg_points_parse((const char *)text, size, items, room, &points, &line);
    if (rc != BRG_OK) {
        rc = brg_why_set(why, BRG_EINVAL, "%s: %s", path, line.text);
        goto out;
    }
    rc = fit_file(&points, alpha_s, seed, out, why);
out:
    free(items);
    free(text);
    return rc;
}

int brg_sim_profile_load(const char *text, uint32_t n, uint32_t rounds, uint64_t seed,
                         double alpha_s, struct brg_sim_profile *out, struct brg_why *why) {
    memset(out, 0, sizeof *out);
    if (strcmp(text, NAME) != 0 && strncmp(text, PREFIX, strlen(PREFIX)) != 0) {
        return load_file(text, alpha_s, seed, out, why);
    }
    struct brg_profile_ge ge = brg_profile_ge_default();
    ge.seed = seed;
    if (alpha_s > 0.0) ge.alpha_s = alpha_s;
    int rc = brg_sim_profile_parse_ge(text, &ge, why);
    if (rc != BRG_OK) return rc;
    if (rounds > BRG_PROFILE_ROUNDS_MAX) rounds = BRG_PROFILE_ROUNDS_MAX;
    if ((uint64_t)n * rounds > BRG_PROFILE_CELLS_MAX) rounds = BRG_PROFILE_CELLS_MAX / n;
    struct brg_profile_cell *cells = malloc((size_t)n * rounds * sizeof *cells);
    if (cells == NULL) return out_of_memory(why);
    rc = brg_profile_make(&ge, n, rounds, cells, &out->profile, why);
    if (rc != BRG_OK) {
        free(cells);
        out->profile.cells = NULL;
    }
    return rc;
}
