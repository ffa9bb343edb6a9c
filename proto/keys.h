/* keys.h - the CURVE key pair that says who a process is: files, text form, join URL.
 *
 * Key file, exactly BRG_KEYFILE_BYTES bytes, mode 0600:
 *
 *   brigade-key-1\n
 *   public <40 characters Z85>\n
 *   secret <40 characters Z85>\n
 *
 * Join URL: brigade://<40 characters Z85>@host:port, an IPv6 address in brackets. Z85 holds
 * characters that a shell reads, so a URL is written in single quotes on a command line.
 * Z85: rfc.zeromq.org/spec/32. Thread-safe; sodium_init() must have succeeded before any call. */
#ifndef BRG_PROTO_KEYS_H
#define BRG_PROTO_KEYS_H

#include "base/base.h"
#include "base/why.h"

#define BRG_CURVE_KEY_BYTES 32u
#define BRG_KEY_TEXT_BYTES 41u  /* Z85 with its NUL */
#define BRG_KEYFILE_BYTES 110u  /* 14 + 48 + 48 */
#define BRG_HOST_BYTES 256u     /* a host name or address with its NUL */
#define BRG_ENDPOINT_BYTES 280u /* tcp://[host]:port with its NUL */
#define BRG_JOIN_URL_BYTES 336u /* brigade://key@[host]:port with its NUL */
#define BRG_PORT_DEFAULT 7420u

/* A public key: who somebody is. Not a secret; compare with memcmp. */
struct brg_key {
    uint8_t bytes[BRG_CURVE_KEY_BYTES];
};

/* The secret half lies in guarded memory that is wiped when freed. */
struct brg_keypair {
    struct brg_key public_key;
    uint8_t *secret; /* [BRG_CURVE_KEY_BYTES], read-only, from sodium_malloc; NULL: no pair */
};

/* What a join URL says. `host` without brackets. */
struct brg_join {
    struct brg_key server;
    char host[BRG_HOST_BYTES];
    uint16_t port;
};

/* brg_keypair_create - a new random pair. own: end with brg_keypair_wipe
 * errors: BRG_ENOMEM no guarded memory to be had */
BRG_CHECK int brg_keypair_create(struct brg_keypair *out, struct brg_why *why);

/* brg_keypair_wipe - frees and wipes; an empty pair is allowed and stays so. */
void brg_keypair_wipe(struct brg_keypair *pair);

/* brg_keyfile_save - writes `pair` to the new file `path`, durable on return.
 *
 * errors: BRG_EEXIST something is there already (a link also): never overwritten
 *         BRG_EPERM, BRG_ENOENT, BRG_ENOSPC, BRG_EIO the system's reason, in `why`; no file is left
 */
BRG_CHECK int brg_keyfile_save(const char *path, const struct brg_keypair *pair,
                               struct brg_why *why);

/* brg_keyfile_load - the pair in `path`.
 *
 * own:    *out is the caller's, end with brg_keypair_wipe; empty after an error
 * errors: BRG_ENOENT   no such file
 *         BRG_EPERM    a link, not a plain file, not this user's, or group or others may touch it
 *         BRG_ECORRUPT not in the format above, or the halves do not belong together
 *         BRG_EIO, BRG_ENOMEM */
BRG_CHECK int brg_keyfile_load(const char *path, struct brg_keypair *out, struct brg_why *why);

/* brg_keyfile_ensure - brg_keyfile_load, or where there is no file a new pair, saved.
 * out: *created (may be NULL) 1 where it is new. errors: those of load and save */
BRG_CHECK int brg_keyfile_ensure(const char *path, struct brg_keypair *out, int *created,
                                 struct brg_why *why);

/* brg_key_format - the text form of `key` with its NUL into out [BRG_KEY_TEXT_BYTES]; returns out.
 */
const char *brg_key_format(const struct brg_key *key, char *out);

/* brg_key_parse - reads exactly 40 characters of Z85.
 * errors: BRG_EINVAL wrong length or character; *out as before */
BRG_CHECK int brg_key_parse(const char *text, struct brg_key *out, struct brg_why *why);

/* brg_key_equal - 1 where both are the same, else 0. Public keys only: not constant time. */
int brg_key_equal(const struct brg_key *a, const struct brg_key *b);

/* brg_join_format - the URL with its NUL into out [BRG_JOIN_URL_BYTES]; returns out. */
const char *brg_join_format(const struct brg_join *join, char *out);

/* brg_join_parse - reads a join URL. errors: BRG_EINVAL, *why says which part; *out as before */
BRG_CHECK int brg_join_parse(const char *url, struct brg_join *out, struct brg_why *why);

/* brg_address_parse - "host:port", "[v6]:port", "host" or "port" (then all addresses) as used by
 * --listen and --announce; a port that is missing is BRG_PORT_DEFAULT.
 *
 * shape:  host [BRG_HOST_BYTES], without brackets
 * errors: BRG_EINVAL, *why says which part; outputs as before */
BRG_CHECK int brg_address_parse(const char *text, char *host, uint16_t *port, struct brg_why *why);

/* brg_endpoint_format - tcp://host:port for a socket into out [BRG_ENDPOINT_BYTES]; returns out. */
const char *brg_endpoint_format(const char *host, uint16_t port, char *out);

#endif
