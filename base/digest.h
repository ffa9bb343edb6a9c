/* digest.h - BLAKE2b-256 of bytes, and of files.  Thread-safe; no allocation. */
#ifndef BRG_DIGEST_H
#define BRG_DIGEST_H

#include "base/base.h"

#include <sodium/crypto_generichash.h>

#define BRG_DIGEST_BYTES 32u
#define BRG_DIGEST_HEX_BYTES 65u /* with the closing NUL */

struct brg_digest {
    uint8_t bytes[BRG_DIGEST_BYTES];
};

/* A digest under way; update it in order from one thread. */
struct brg_hasher {
    crypto_generichash_state state;
};

void brg_hasher_init(struct brg_hasher *h);
void brg_hasher_update(struct brg_hasher *h, const void *data, size_t size_bytes);
void brg_hasher_final(struct brg_hasher *h, struct brg_digest *out);

/* brg_digest_of - BLAKE2b-256 of `size_bytes` bytes at `data` (NULL allowed when 0). */
void brg_digest_of(const void *data, size_t size_bytes, struct brg_digest *out);

/* brg_digest_equal - 1 where both are the same, else 0. Not constant time: digests are public. */
int brg_digest_equal(const struct brg_digest *a, const struct brg_digest *b);

/* brg_digest_hex - lower-case hex of `d` with its NUL into out [65]; returns out. */
const char *brg_digest_hex(const struct brg_digest *d, char *out);

#endif
