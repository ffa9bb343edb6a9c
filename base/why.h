/* why.h - the one sentence that goes with an error: what, where, what to do next.
 *
 * The caller owns it, usually on its stack; a function that fails fills it, one that succeeds
 * leaves it alone. Thread-safe as long as each thread has its own. */
#ifndef BRG_WHY_H
#define BRG_WHY_H

#include "base/base.h"

#define BRG_WHY_BYTES 768u /* longer sentences are cut */

struct brg_why {
    char text[BRG_WHY_BYTES];
};

/* brg_why_set - writes the sentence and returns `err`, so that `return brg_why_set(...)` reads
 * well. why may be NULL: the sentence is then dropped. errno is left as it was. */
BRG_PRINTF(3, 4) int brg_why_set(struct brg_why *why, int err, const char *format, ...);

#endif
