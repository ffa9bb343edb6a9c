#include <math.h>

#include "coding/berrut.h"

#define PI 3.14159265358979323846

int brg_berrut_check(const struct brg_berrut_spec *spec, struct brg_why *why) {
    if (spec->blocks < 2 || spec->blocks > BRG_BERRUT_BLOCKS_MAX) {
        return brg_why_set(why, BRG_EINVAL,
                           "a Berrut code of %u blocks cannot be built: choose 2 to %u",
                           spec->blocks, BRG_BERRUT_BLOCKS_MAX);
    }
    if (spec->nodes <= spec->blocks || spec->nodes > BRG_BERRUT_NODES_MAX) {
        return brg_why_set(why, BRG_EINVAL,
                           "%u blocks cannot be coded for %u workers: choose %u to %u workers, "
                           "and 5 times the blocks or more where liars are to be found",
                           spec->blocks, spec->nodes, spec->blocks + 1, BRG_BERRUT_NODES_MAX);
    }
    if (spec->points < BRG_BERRUT_FIRST_KIND || spec->points > BRG_BERRUT_SECOND_KIND) {
        return brg_why_set(why, BRG_EINVAL,
                           "the points have number %u, which this version does not know: use "
                           "first-kind or second-kind",
                           spec->points);
    }
    if (spec->encoder < BRG_BERRUT_RATIONAL || spec->encoder > BRG_BERRUT_POLYNOMIAL) {
        return brg_why_set(why, BRG_EINVAL,
                           "the encoder has number %u, which this version does not know: use "
                           "rational or polynomial",
                           spec->encoder);
    }
    if (spec->decoder < BRG_BERRUT_BERRUT || spec->decoder > BRG_BERRUT_AUTO) {
        return brg_why_set(why, BRG_EINVAL,
                           "the decoder has number %u, which this version does not know: use "
                           "auto, berrut, half, spline or chebyshev",
                           spec->decoder);
    }
    return BRG_OK;
}

void brg_berrut_alphas(uint32_t blocks, double *alpha) {
    BRG_ASSERT(blocks > 0);
    for (uint32_t j = 0; j < blocks; j++) alpha[j] = cos((2.0 * j + 1.0) * PI / (2.0 * blocks));
}

uint32_t brg_berrut_direct(const struct brg_berrut_spec *spec, uint32_t *node) {
    const uint32_t k = spec->blocks, n = spec->nodes;
    uint32_t found = 0;
    BRG_ASSERT(k > 0 && n > 1);
    for (uint32_t j = 0; j < k; j++) {
        /* Angles as fractions of pi: (2 j + 1) / 2 K against (2 i + 1) / 2 N or i / (N - 1). */
        node[j] = BRG_BERRUT_NOWHERE;
        if (spec->points == BRG_BERRUT_FIRST_KIND) {
            const uint32_t scaled = (2 * j + 1) * n;
            if (scaled % k == 0 && (scaled / k) % 2 == 1) node[j] = (scaled / k - 1) / 2;
        } else {
            const uint32_t scaled = (2 * j + 1) * (n - 1);
            if (scaled % (2 * k) == 0) node[j] = scaled / (2 * k);
        }
        found += node[j] != BRG_BERRUT_NOWHERE;
    }
    return found;
}

void brg_berrut_nodes(const struct brg_berrut_spec *spec, double *z) {
    const uint32_t n = spec->nodes;
    uint32_t node[BRG_BERRUT_BLOCKS_MAX];
    double alpha[BRG_BERRUT_BLOCKS_MAX];
    BRG_ASSERT(brg_berrut_check(spec, NULL) == BRG_OK);
    for (uint32_t i = 0; i < n; i++) {
        z[i] = spec->points == BRG_BERRUT_FIRST_KIND ? cos((2.0 * i + 1.0) * PI / (2.0 * n))
                                                     : cos(i * PI / (n - 1.0));
    }
    brg_berrut_alphas(spec->blocks, alpha);
    (void)brg_berrut_direct(spec, node);
    for (uint32_t j = 0; j < spec->blocks; j++) {
        if (node[j] != BRG_BERRUT_NOWHERE) z[node[j]] = alpha[j];
    }
}

uint32_t brg_berrut_systematic(const struct brg_berrut_spec *spec, uint32_t least) {
    struct brg_berrut_spec s = *spec;
    uint32_t node[BRG_BERRUT_BLOCKS_MAX];
    const uint32_t first = least > s.blocks + 1 ? least : s.blocks + 1;
    for (s.nodes = first; s.nodes <= BRG_BERRUT_NODES_MAX; s.nodes++) {
        if (brg_berrut_direct(&s, node) == s.blocks) return s.nodes;
    }
    return 0;
}
