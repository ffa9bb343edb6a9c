#include "proto/token.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "brg_"
#define TOKEN_RANDOM_BYTES 24u
#define TOKEN_TEXT (BRG_TOKEN_TEXT_BYTES - 1)
#define TOKEN_FILE_BYTES_MAX 4096u /* a line and whatever blanks an editor left */
#define TOKEN_DOMAIN "brigade/v1/token"
#define COMMIT_DOMAIN "brigade/v1/commit"

void brg_token_create(char *text) {
    uint8_t random[TOKEN_RANDOM_BYTES];
    randombytes_buf(random, sizeof random);
    memcpy(text, PREFIX, sizeof PREFIX - 1);
    const char *end =
        sodium_bin2base64(text + sizeof PREFIX - 1, BRG_TOKEN_TEXT_BYTES - (sizeof PREFIX - 1),
                          random, sizeof random, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(random, sizeof random);
    BRG_ASSERT(end != NULL);
    BRG_ASSERT(strlen(text) == TOKEN_TEXT);
}

int brg_token_parse(const void *text, size_t size_bytes) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *bytes = text;
    if (size_bytes != TOKEN_TEXT) return BRG_EINVAL;
    if (memcmp(bytes, PREFIX, sizeof PREFIX - 1) != 0) return BRG_EINVAL;
    for (size_t i = sizeof PREFIX - 1; i < size_bytes; i++) {
        if (memchr(allowed, bytes[i], sizeof allowed - 1) == NULL) return BRG_EINVAL;
    }
    return BRG_OK;
}

void brg_token_hash(const void *text, size_t size_bytes, struct brg_digest *out) {
    struct brg_hasher h;
    brg_hasher_init(&h);
    brg_hasher_update(&h, TOKEN_DOMAIN, sizeof TOKEN_DOMAIN); /* with its NUL, which ends it */
    brg_hasher_update(&h, text, size_bytes);
    brg_hasher_final(&h, out);
    sodium_memzero(&h, sizeof h);
}

/* The whole file, cut at TOKEN_FILE_BYTES_MAX; BRG_EINVAL when longer. */
static int read_small(int fd, char *out, size_t *size_bytes) {
    size_t got = 0;
    while (got < TOKEN_FILE_BYTES_MAX) {
        const ssize_t n = read(fd, out + got, TOKEN_FILE_BYTES_MAX - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return BRG_EIO;
        if (n == 0) {
            *size_bytes = got;
            return BRG_OK;
        }
        got += (size_t)n;
    }
    return BRG_EINVAL;
}

static int is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int brg_token_read(const char *path, char *text, int *others_can_read, struct brg_why *why) {
    int rc = BRG_OK;
    char file[TOKEN_FILE_BYTES_MAX];
    size_t size_bytes = 0, first = 0;
    struct stat st;

    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        rc = brg_why_set(why, brg_file_error(errno), "cannot open the token file %s: %s", path,
                         strerror(errno));
        goto out;
    }
    rc = read_small(fd, file, &size_bytes);
    if (rc == BRG_EIO) {
        rc = brg_why_set(why, brg_file_error(errno), "cannot read the token file %s: %s", path,
                         strerror(errno));
        goto out;
    }
    while (first < size_bytes && is_blank(file[first])) first++;
    while (size_bytes > first && is_blank(file[size_bytes - 1])) size_bytes--;
    if (rc != BRG_OK || brg_token_parse(file + first, size_bytes - first) != BRG_OK) {
        rc = brg_why_set(why, BRG_EINVAL,
                         "%s holds no join token (brg_ and 32 characters): make one on the "
                         "coordinator with brigade token create",
                         path);
        goto out;
    }
    memcpy(text, file + first, TOKEN_TEXT);
    text[TOKEN_TEXT] = '\0';
    if (others_can_read != NULL) *others_can_read = (st.st_mode & S_IROTH) != 0;
out:
    sodium_memzero(file, sizeof file);
    if (fd >= 0) (void)close(fd);
    return rc;
}

/* Little-endian, so that a MAC does not depend on the machine. */
static void put_u64(uint8_t out[8], uint64_t value) {
    for (uint32_t i = 0; i < 8; i++) out[i] = (uint8_t)(value >> (8 * i));
}

void brg_mac(const uint8_t *key, const char *domain, const struct brg_mac_part *parts,
             uint32_t count, struct brg_digest *out) {
    crypto_generichash_state state;
    uint8_t size_bytes[8];
    int failed = crypto_generichash_init(&state, key, BRG_MAC_KEY_BYTES, sizeof out->bytes);

    failed |= crypto_generichash_update(&state, (const uint8_t *)domain, strlen(domain) + 1);
    for (uint32_t i = 0; i < count; i++) {
        put_u64(size_bytes, parts[i].size_bytes);
        failed |= crypto_generichash_update(&state, size_bytes, sizeof size_bytes);
        failed |= crypto_generichash_update(&state, parts[i].data, parts[i].size_bytes);
    }
    failed |= crypto_generichash_final(&state, out->bytes, sizeof out->bytes);
    BRG_ASSERT(failed == 0);
    sodium_memzero(&state, sizeof state); /* it holds the key */
}

int brg_mac_equal(const struct brg_digest *a, const struct brg_digest *b) {
    return sodium_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static void proof_mac(const uint8_t *key, const struct brg_proof *proof, struct brg_digest *out) {
    uint8_t run[8], step[8];
    put_u64(run, proof->run);
    put_u64(step, proof->step);
    const struct brg_mac_part parts[] = {
        {run, sizeof run},
        {step, sizeof step},
        {proof->chain.bytes, sizeof proof->chain.bytes},
    };
    brg_mac(key, COMMIT_DOMAIN, parts, 3, out);
}

void brg_proof_sign(const uint8_t *key, struct brg_proof *proof) {
    proof_mac(key, proof, &proof->mac);
}

int brg_proof_verify(const uint8_t *key, const struct brg_proof *proof) {
    struct brg_digest mac;
    proof_mac(key, proof, &mac);
    return brg_mac_equal(&mac, &proof->mac) ? BRG_OK : BRG_EPERM;
}
