/* token.h - join tokens, which let an unknown key enrol, and the MACs that prove a commit.
 *
 * A token is 24 random bytes as text: brg_ and 32 characters of base64url. The coordinator keeps
 * its hash only. Tokens are secrets: never log one, wipe with sodium_memzero after use.
 * Thread-safe; sodium_init() must have succeeded before any call. */
#ifndef BRG_PROTO_TOKEN_H
#define BRG_PROTO_TOKEN_H

#include "base/base.h"
#include "base/digest.h"
#include "base/why.h"
#include "proto/messages.h"

#define BRG_TOKEN_TEXT_BYTES 37u /* brg_, 32 characters, NUL */
#define BRG_MAC_KEY_BYTES 32u

/* brg_token_create - a new token into text [BRG_TOKEN_TEXT_BYTES]. */
void brg_token_create(char *text);

/* brg_token_parse - is `text` [size_bytes, no NUL needed] a token? Blanks around it are not
 * allowed. errors: BRG_EINVAL length, prefix or characters */
BRG_CHECK int brg_token_parse(const void *text, size_t size_bytes);

/* brg_token_hash - what is stored and compared: BLAKE2b-256 of a domain and the text. Any bytes are
 * hashed, so that a Hello's token can be looked up without parsing it first. */
void brg_token_hash(const void *text, size_t size_bytes, struct brg_digest *out);

/* brg_token_read - the token in file `path`: one line, blanks around it are passed over.
 *
 * shape:  text [BRG_TOKEN_TEXT_BYTES]
 * out:    *others_can_read (may be NULL) 1 where the file's mode lets others read it: warn then
 * errors: BRG_ENOENT, BRG_EPERM, BRG_EIO the system's reason
 *         BRG_EINVAL it holds no token */
BRG_CHECK int brg_token_read(const char *path, char *text, int *others_can_read,
                             struct brg_why *why);

/* One part of what a MAC is over. */
struct brg_mac_part {
    const void *data;
    size_t size_bytes;
};

/* brg_mac - keyed BLAKE2b-256 over the domain and the parts, each led by its length, so that moving
 * a byte from one part to the next changes the result.
 *
 * shape: key [BRG_MAC_KEY_BYTES]; domain: a constant such as "brigade/v1/commit"; parts [count] */
void brg_mac(const uint8_t *key, const char *domain, const struct brg_mac_part *parts,
             uint32_t count, struct brg_digest *out);

/* brg_mac_equal - 1 where both are the same, in constant time. */
int brg_mac_equal(const struct brg_digest *a, const struct brg_digest *b);

/* brg_proof_sign - sets proof->mac from its run, step and chain. shape: key [BRG_MAC_KEY_BYTES] */
void brg_proof_sign(const uint8_t *key, struct brg_proof *proof);

/* brg_proof_verify - errors: BRG_EPERM `key` did not make this MAC for these values */
BRG_CHECK int brg_proof_verify(const uint8_t *key, const struct brg_proof *proof);

#endif
