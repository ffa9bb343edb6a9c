#include "base/digest.h"

#include <string.h>

#include <sodium/utils.h>

void brg_hasher_init(struct brg_hasher *h) {
    const int rc = crypto_generichash_init(&h->state, NULL, 0, BRG_DIGEST_BYTES);
    BRG_ASSERT(rc == 0);
}

void brg_hasher_update(struct brg_hasher *h, const void *data, size_t size_bytes) {
    if (size_bytes == 0) return;
    const int rc = crypto_generichash_update(&h->state, data, size_bytes);
    BRG_ASSERT(rc == 0);
}

void brg_hasher_final(struct brg_hasher *h, struct brg_digest *out) {
    const int rc = crypto_generichash_final(&h->state, out->bytes, sizeof out->bytes);
    BRG_ASSERT(rc == 0);
}

void brg_digest_of(const void *data, size_t size_bytes, struct brg_digest *out) {
    struct brg_hasher h;
    brg_hasher_init(&h);
    brg_hasher_update(&h, data, size_bytes);
    brg_hasher_final(&h, out);
}

int brg_digest_equal(const struct brg_digest *a, const struct brg_digest *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

const char *brg_digest_hex(const struct brg_digest *d, char *out) {
    return sodium_bin2hex(out, BRG_DIGEST_HEX_BYTES, d->bytes, sizeof d->bytes);
}
