/* tables.h - the tables of the CPU. Private to kernels/; use brg_kernels_pick. */
#ifndef BRG_KERNELS_CPU_TABLES_H
#define BRG_KERNELS_CPU_TABLES_H

#include "kernels/kernels.h"

extern const struct brg_kernels brg_kernels_reference; /* plain loops, sums in double */
extern const struct brg_kernels brg_kernels_base;      /* what every CPU of the target has */
#if defined(__x86_64__)
extern const struct brg_kernels brg_kernels_v3; /* AVX2 */
extern const struct brg_kernels brg_kernels_v4; /* AVX-512 */
#endif

#endif
