/* fuzz_delays.c - recordings of delays: whatever the bytes, one sentence, or points within their
 * bounds whose fit gives a profile within its own. */
#include "coding/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ITEMS 512u
#define CELLS 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct brg_point items[ITEMS];
    static struct brg_profile_cell cells[CELLS];
    static uint64_t block[CELLS * 16];
    struct brg_points points;
    struct brg_why why = {.text = ""};

    BRG_ASSERT(brg_points_count_lines((const char *)data, size) >= 1);
    const int rc = brg_points_parse((const char *)data, size, items, ITEMS, &points, &why);
    if (rc != BRG_OK) {
        BRG_ASSERT(why.text[0] != '\0');
        return 0;
    }
    BRG_ASSERT(points.count >= 1);
    BRG_ASSERT(points.count <= ITEMS);
    BRG_ASSERT(points.workers <= BRG_PROFILE_WORKERS_MAX);
    struct brg_profile_fit fit = {.points = items,
                                  .count = points.count,
                                  .first_round = UINT32_MAX,
                                  .rounds = points.rounds,
                                  .n = points.workers};
    for (uint32_t i = 0; i < points.count; i++) {
        if (items[i].round < fit.first_round) fit.first_round = items[i].round;
    }
    if ((uint64_t)fit.n * fit.rounds > CELLS) return 0;
    struct brg_arena arena;
    struct brg_profile profile;
    struct brg_profile_summary summary;
    brg_arena_init(&arena, block, sizeof block);
    if (brg_profile_fit(&fit, &arena, cells, &profile, &summary) != BRG_OK) return 0;
    for (uint32_t i = 0; i < fit.n * fit.rounds; i++) {
        BRG_ASSERT(cells[i].fixed_ns <= BRG_PROFILE_NS_MAX);
        BRG_ASSERT(cells[i].rate_ns <= BRG_PROFILE_NS_MAX);
    }
    return 0;
}
