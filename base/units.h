/* units.h - durations, sizes and shares as people write them: 30s, 64MiB, 5%.  Pure, thread-safe.
 *
 * A number without its unit is refused, not guessed: "30" is 30 seconds to one reader and 30
 * milliseconds to the next. Decimals are allowed where the result is a whole number of the smallest
 * unit (1.5s, 0.5MiB). One blank may stand between number and unit.
 *
 *   duration   ns us ms s min h d                 -> nanoseconds
 *   size       B KiB MiB GiB TiB, kB MB GB TB     -> bytes (powers of 1024, powers of 1000)
 *   share      %                                  -> millionths, at most 100% */
#ifndef BRG_UNITS_H
#define BRG_UNITS_H

#include "base/base.h"

#define BRG_UNITS_TEXT_BYTES 32u /* room for what the writers below write, with the NUL */
#define BRG_SHARE_ONE_PPM UINT32_C(1000000)

/* What to tell somebody whose value was refused. */
#define BRG_UNITS_DURATION_HINT "a number with its unit: ns, us, ms, s, min, h or d, such as 30s"
#define BRG_UNITS_SIZE_HINT "a number with its unit: B, KiB, MiB, GiB or TiB, such as 64MiB"
#define BRG_UNITS_SHARE_HINT "a percentage from 0% to 100%, such as 5%"

/* brg_duration_parse - `text` in nanoseconds.
 * errors: BRG_EINVAL no number, no or an unknown unit, not a whole number of nanoseconds, or more
 *         than 2^64 - 1; *out_ns is untouched */
BRG_CHECK int brg_duration_parse(const char *text, uint64_t *out_ns);

/* brg_size_parse - `text` in bytes. errors: as brg_duration_parse */
BRG_CHECK int brg_size_parse(const char *text, uint64_t *out_bytes);

/* brg_share_parse - `text` in millionths of the whole. errors: also BRG_EINVAL above 100% */
BRG_CHECK int brg_share_parse(const char *text, uint32_t *out_ppm);

/* The shortest text without decimals that parses back to exactly the same number: "90s", "512KiB".
 * Shares have up to four decimals: "2.5%".
 * shape: out [BRG_UNITS_TEXT_BYTES]; returns out */
const char *brg_duration_text(uint64_t ns, char *out);
const char *brg_size_text(uint64_t bytes, char *out);
const char *brg_share_text(uint32_t ppm, char *out);

/* brg_size_about - for people, three digits: "3.21 MiB". shape: out [BRG_UNITS_TEXT_BYTES] */
const char *brg_size_about(uint64_t bytes, char *out);

#endif
