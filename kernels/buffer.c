#include "kernels/buffer.h"

#include <sys/mman.h>

int brg_buffer_create(size_t size_bytes, void **out) {
    BRG_ASSERT(out != NULL);
    *out = NULL;
    if (size_bytes == 0) return BRG_EINVAL;
    void *p = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return BRG_ENOMEM;
    (void)madvise(p, size_bytes, MADV_HUGEPAGE); /* a wish: without huge pages it is only slower */
    *out = p;
    return BRG_OK;
}

void brg_buffer_destroy(void **buffer, size_t size_bytes) {
    BRG_ASSERT(buffer != NULL);
    if (*buffer == NULL) return;
    const int rc = munmap(*buffer, size_bytes);
    BRG_ASSERT(rc == 0);
    *buffer = NULL;
}
