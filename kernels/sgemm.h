/* sgemm.h - the matrix product that the fast tables share. Private to kernels/. */
#ifndef BRG_KERNELS_SGEMM_H
#define BRG_KERNELS_SGEMM_H

#include "kernels/kernels.h"

/* brg_sgemm_check - asserts what brg_gemm promises. */
void brg_sgemm_check(const struct brg_gemm *g, const float *a, const float *b, const float *c);

/* brg_sgemm_dnnl - oneDNN's product on the calling thread alone.
 * own: oneDNN packs into memory of its own; out of memory there ends the process */
void brg_sgemm_dnnl(const struct brg_gemm *g, const float *a, const float *b, float *c);

#endif
