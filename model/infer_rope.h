/* infer_rope.h - the angles of rotary positions, with the scalings that published models use.
 * Pure, thread-safe. */
#ifndef BRG_MODEL_INFER_ROPE_H
#define BRG_MODEL_INFER_ROPE_H

#include "model/spec.h"

/* brg_infer_rope_divisor - what the angle of pair `pair` of a head is divided by, 1 where the spec
 * asks for no scaling. GGUF stores these numbers as rope_freqs.weight.
 *
 * source: "linear": Chen et al., "Extending Context Window of Large Language Models via Positional
 *         Interpolation", 2023, eq. 4. "llama3": by the wavelength w = 2 pi / frequency against
 *         the original context c: divided where w > c / low, kept where w < c / high, else blended
 *         with the weight (c / w - low) / (high - low)
 * asserts: pair < head_dim / 2 */
double brg_infer_rope_divisor(const struct brg_model_spec *spec, uint32_t pair);

/* brg_infer_rope_table - cosines and sines [context, head_dim / 2]; without scaling the same bits
 * as brg_rope_table. */
void brg_infer_rope_table(const struct brg_model_spec *spec, float *cosines, float *sines);

#endif
