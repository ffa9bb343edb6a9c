/* checkpoint_sealed.h - manifests: JSON that carries the digest of itself as its last member, so
 * that a torn or damaged one is never parsed. For the files of checkpoints only.
 *
 * cJSON's numbers are doubles, which do not hold 64 bits: they travel as decimal texts.
 * Stateless; thread-safe towards different paths. */
#ifndef BRG_CHECKPOINT_SEALED_H
#define BRG_CHECKPOINT_SEALED_H

#include "base/digest.h"
#include "base/why.h"

#include <cjson/cJSON.h>

/* brg_sealed_write - the object `o` as file, durable; *digest: of it. o NULL: no memory was left.
 * errors: BRG_ENOMEM; of base/file.h; with the sentence */
BRG_CHECK int brg_sealed_write(const char *path, const cJSON *o, struct brg_digest *digest,
                               struct brg_why *why);

/* brg_sealed_read - verifies, then parses.
 * own:    *out is the caller's, cJSON_Delete; NULL after an error
 * errors: BRG_ENOENT without a sentence; BRG_ECORRUPT it does not verify; of base/file.h */
BRG_CHECK int brg_sealed_read(const char *path, cJSON **out, struct brg_digest *digest,
                              struct brg_why *why);

/* brg_sealed_damaged - sets the sentence for a manifest that does not verify: BRG_ECORRUPT. */
int brg_sealed_damaged(const char *path, struct brg_why *why);

/* Members; 1, or 0 where there is no memory, the member is missing or of another kind. */
int brg_sealed_put_u64(cJSON *o, const char *name, uint64_t value);
int brg_sealed_put_digest(cJSON *o, const char *name, const struct brg_digest *d);
int brg_sealed_get_u64(const cJSON *o, const char *name, uint64_t *value);
int brg_sealed_get_text(const cJSON *o, const char *name, char *out, size_t size);
int brg_sealed_get_digest(const cJSON *o, const char *name, struct brg_digest *out);

#endif
