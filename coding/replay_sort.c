#include "coding/replay_state.h"

#define DIGIT_BITS 11u
#define BUCKETS (1u << DIGIT_BITS)
#define FEW 48u /* below this, insertion needs less than one pass over the buckets */

static void insert_all(struct brg_replay_event *events, uint32_t count) {
    for (uint32_t i = 1; i < count; i++) {
        const struct brg_replay_event moving = events[i];
        uint32_t at = i;
        for (; at > 0 && events[at - 1].at_ns > moving.at_ns; at--) events[at] = events[at - 1];
        events[at] = moving;
    }
}

/* Least significant digit first: stable, and no comparison that a processor could guess wrongly. */
void brg_replay_sort(struct brg_replay_event *events, struct brg_replay_event *spare,
                     uint32_t count) {
    if (count < FEW) {
        insert_all(events, count);
        return;
    }
    uint64_t low = UINT64_MAX, high = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (events[i].at_ns < low) low = events[i].at_ns;
        if (events[i].at_ns > high) high = events[i].at_ns;
    }
    struct brg_replay_event *from = events, *to = spare;
    for (uint32_t shift = 0; shift < 64 && (high - low) >> shift != 0; shift += DIGIT_BITS) {
        uint32_t begin[BUCKETS] = {0}, sum = 0;
        for (uint32_t i = 0; i < count; i++)
            begin[(from[i].at_ns - low) >> shift & (BUCKETS - 1)]++;
        for (uint32_t b = 0; b < BUCKETS; b++) {
            const uint32_t size = begin[b];
            begin[b] = sum;
            sum += size;
        }
        for (uint32_t i = 0; i < count; i++) {
            to[begin[(from[i].at_ns - low) >> shift & (BUCKETS - 1)]++] = from[i];
        }
        struct brg_replay_event *const swap = from;
        from = to;
        to = swap;
    }
    if (from == events) return;
    for (uint32_t i = 0; i < count; i++) events[i] = from[i];
}
