/* buffer.h - large arrays for tensors: allocated once, kept, on huge pages where the kernel has
 * them. Touching fresh pages costs more than most arithmetic, so nobody allocates in a step. */
#ifndef BRG_KERNELS_BUFFER_H
#define BRG_KERNELS_BUFFER_H

#include "base/base.h"

/* brg_buffer_create - zeroed memory of `size_bytes`, aligned to a page, into *out.
 * own:    the caller's, until brg_buffer_destroy
 * errors: BRG_EINVAL size_bytes is 0; BRG_ENOMEM; *out is NULL then */
BRG_CHECK int brg_buffer_create(size_t size_bytes, void **out);

/* brg_buffer_destroy - gives *buffer of `size_bytes` back and sets it to NULL; NULL is fine. */
void brg_buffer_destroy(void **buffer, size_t size_bytes);

#endif
