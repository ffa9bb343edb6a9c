/* sgemm.c - C = alpha op(A) op(B) + beta C by oneDNN's dnnl_sgemm, one thread.
 *
 * oneDNN divides a product among the threads that OpenMP would grant, and how it divides decides
 * the order of the sums. With one thread granted it runs inline, starts no pool, and gives the
 * same bits for the same shapes whatever the alignment of the arrays (the unit test holds it to
 * that). OpenMP keeps the number per calling thread, so it is set on every call: one store. */
#include "kernels/sgemm.h"

#include <dnnl.h>

/* From libgomp, which libdnnl loads; clang ships no omp.h on Debian. */
extern void omp_set_num_threads(int count);

void brg_sgemm_check(const struct brg_gemm *g, const float *a, const float *b, const float *c) {
    BRG_ASSERT(g != NULL && a != NULL && b != NULL && c != NULL);
    BRG_ASSERT(g->m > 0 && g->n > 0 && g->k > 0);
    BRG_ASSERT(g->lda >= (g->transpose_a ? g->m : g->k));
    BRG_ASSERT(g->ldb >= (g->transpose_b ? g->k : g->n));
    BRG_ASSERT(g->ldc >= g->n);
}

void brg_sgemm_dnnl(const struct brg_gemm *g, const float *a, const float *b, float *c) {
    brg_sgemm_check(g, a, b, c);
    omp_set_num_threads(1);
    const dnnl_status_t status =
        dnnl_sgemm(g->transpose_a ? 'T' : 'N', g->transpose_b ? 'T' : 'N', g->m, g->n, g->k,
                   g->alpha, a, g->lda, b, g->ldb, g->beta, c, g->ldc);
    BRG_ASSERT(status == dnnl_success);
}
