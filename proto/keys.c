#include "proto/keys.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#define KEY_TEXT (BRG_KEY_TEXT_BYTES - 1)
#define FILE_HEAD "brigade-key-1\n"
#define FILE_PUBLIC "public "
#define FILE_SECRET "secret "
#define PUBLIC_AT (sizeof FILE_HEAD - 1 + sizeof FILE_PUBLIC - 1)
#define SECRET_AT (PUBLIC_AT + KEY_TEXT + 1 + sizeof FILE_SECRET - 1)

_Static_assert(SECRET_AT + KEY_TEXT + 1 == BRG_KEYFILE_BYTES, "the format of keys.h");
_Static_assert(BRG_CURVE_KEY_BYTES == crypto_box_SECRETKEYBYTES, "CURVE's keys are crypto_box's");

/* Guarded memory for a secret, or NULL. */
static uint8_t *secret_create(struct brg_why *why) {
    uint8_t *secret = sodium_malloc(BRG_CURVE_KEY_BYTES);
    if (secret == NULL) {
        (void)brg_why_set(why, BRG_ENOMEM,
                          "no guarded memory for a key; raise the limit of locked memory "
                          "(ulimit -l)");
    }
    return secret;
}

int brg_keypair_create(struct brg_keypair *out, struct brg_why *why) {
    memset(out, 0, sizeof *out);
    uint8_t *secret = secret_create(why);
    if (secret == NULL) return BRG_ENOMEM;
    (void)crypto_box_keypair(out->public_key.bytes, secret);
    (void)sodium_mprotect_readonly(secret);
    out->secret = secret;
    return BRG_OK;
}

void brg_keypair_wipe(struct brg_keypair *pair) {
    sodium_free(pair->secret); /* wipes; NULL is fine */
    memset(pair, 0, sizeof *pair);
}

/* Writes the text of a key file into out [BRG_KEYFILE_BYTES + 1]; the caller wipes it. */
static void keyfile_print(const struct brg_keypair *pair, char *out) {
    char public_text[BRG_KEY_TEXT_BYTES], secret_text[BRG_KEY_TEXT_BYTES];
    (void)zmq_z85_encode(public_text, pair->public_key.bytes, BRG_CURVE_KEY_BYTES);
    (void)zmq_z85_encode(secret_text, pair->secret, BRG_CURVE_KEY_BYTES);
    const int size = snprintf(out, BRG_KEYFILE_BYTES + 1, "%s%s%s\n%s%s\n", FILE_HEAD, FILE_PUBLIC,
                              public_text, FILE_SECRET, secret_text);
    BRG_ASSERT(size == (int)BRG_KEYFILE_BYTES);
    sodium_memzero(secret_text, sizeof secret_text);
}

/* All of it, or an errno value; 0 is success. */
static int write_all(int fd, const char *bytes, size_t size_bytes) {
    size_t done = 0;
    while (done < size_bytes) {
        const ssize_t n = write(fd, bytes + done, size_bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        if (n == 0) return EIO;
        done += (size_t)n;
    }
    return 0;
}

int brg_keyfile_save(const char *path, const struct brg_keypair *pair, struct brg_why *why) {
    char text[BRG_KEYFILE_BYTES + 1];
    BRG_ASSERT(pair->secret != NULL);

    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST) {
        return brg_why_set(why, BRG_EEXIST,
                           "%s exists already and keys are never overwritten: choose another path, "
                           "or move the old key away",
                           path);
    }
    if (fd < 0) {
        return brg_why_set(why, brg_file_error(errno), "cannot create the key file %s: %s", path,
                           strerror(errno));
    }
    keyfile_print(pair, text);
    int failed = write_all(fd, text, BRG_KEYFILE_BYTES);
    sodium_memzero(text, sizeof text);
    if (failed == 0 && fsync(fd) != 0) failed = errno;
    if (close(fd) != 0 && failed == 0) failed = errno;
    if (failed == 0 && brg_dir_sync_parent(path) != BRG_OK) failed = errno;
    if (failed == 0) return BRG_OK;
    (void)unlink(path); /* half a key is worse than none */
    return brg_why_set(why, brg_file_error(failed), "cannot write the key file %s: %s", path,
                       strerror(failed));
}

/* Opens for reading and checks the open descriptor, so that nobody can swap the file in between. */
static int keyfile_open(const char *path, int *fd, struct brg_why *why) {
    struct stat st;

    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (*fd < 0 && errno == ELOOP) {
        return brg_why_set(why, BRG_EPERM, "the key file %s is a link: give the file itself", path);
    }
    if (*fd < 0) {
        return brg_why_set(why, brg_file_error(errno), "cannot open the key file %s: %s", path,
                           strerror(errno));
    }
    if (fstat(*fd, &st) != 0) {
        return brg_why_set(why, BRG_EIO, "cannot look at the key file %s: %s", path,
                           strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return brg_why_set(why, BRG_EPERM, "the key file %s is not a plain file", path);
    }
    if (st.st_uid != geteuid()) {
        return brg_why_set(why, BRG_EPERM,
                           "the key file %s belongs to user %u, not to user %u who runs this: "
                           "chown it, or make one with brigade keygen",
                           path, (unsigned)st.st_uid, (unsigned)geteuid());
    }
    if ((st.st_mode & 077) != 0) {
        return brg_why_set(
            why, BRG_EPERM,
            "the key file %s can be touched by others (mode %04o): chmod 600 it, and "
            "make a new key if somebody may have read it",
            path, (unsigned)(st.st_mode & 07777));
    }
    return BRG_OK;
}

/* Reads exactly n bytes and sees the end of the file right behind them. */
static int read_exactly(int fd, char *out, size_t n) {
    size_t got = 0;
    while (got <= n) {
        char past;
        const ssize_t r = read(fd, got < n ? out + got : &past, got < n ? n - got : 1);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return BRG_EIO;
        if (r == 0) return got == n ? BRG_OK : BRG_ECORRUPT;
        got += (size_t)r;
    }
    return BRG_ECORRUPT; /* longer than n */
}

/* Z85 of exactly one key; `text` need not end there. */
static int z85_read(const char *text, uint8_t *out) {
    char copy[BRG_KEY_TEXT_BYTES];
    uint8_t bytes[BRG_CURVE_KEY_BYTES];
    memcpy(copy, text, KEY_TEXT);
    copy[KEY_TEXT] = '\0';
    int rc = BRG_EINVAL;
    if (strlen(copy) == KEY_TEXT && zmq_z85_decode(bytes, copy) != NULL) {
        memcpy(out, bytes, sizeof bytes);
        rc = BRG_OK;
    }
    sodium_memzero(copy, sizeof copy);
    sodium_memzero(bytes, sizeof bytes);
    return rc;
}

/* text [BRG_KEYFILE_BYTES] in the format of keys.h, and the halves belong together. */
static int keyfile_parse(const char *text, struct brg_key *public_key, uint8_t *secret) {
    uint8_t derived[BRG_CURVE_KEY_BYTES];
    const char *second = text + PUBLIC_AT + KEY_TEXT;

    if (memcmp(text, FILE_HEAD FILE_PUBLIC, PUBLIC_AT) != 0) return BRG_ECORRUPT;
    if (memcmp(second, "\n" FILE_SECRET, sizeof FILE_SECRET) != 0) return BRG_ECORRUPT;
    if (text[BRG_KEYFILE_BYTES - 1] != '\n') return BRG_ECORRUPT;
    if (z85_read(text + PUBLIC_AT, public_key->bytes) != BRG_OK) return BRG_ECORRUPT;
    if (z85_read(text + SECRET_AT, secret) != BRG_OK) return BRG_ECORRUPT;
    if (crypto_scalarmult_base(derived, secret) != 0) return BRG_ECORRUPT;
    return memcmp(derived, public_key->bytes, sizeof derived) == 0 ? BRG_OK : BRG_ECORRUPT;
}

int brg_keyfile_load(const char *path, struct brg_keypair *out, struct brg_why *why) {
    int rc = BRG_OK, fd = -1;
    uint8_t *secret = NULL;
    char text[BRG_KEYFILE_BYTES];

    memset(out, 0, sizeof *out);
    rc = keyfile_open(path, &fd, why);
    if (rc != BRG_OK) goto out;
    secret = secret_create(why);
    if (secret == NULL) {
        rc = BRG_ENOMEM;
        goto out;
    }
    rc = read_exactly(fd, text, sizeof text);
    if (rc == BRG_EIO) {
        rc = brg_why_set(why, rc, "cannot read the key file %s: %s", path, strerror(errno));
        goto out;
    }
    if (rc == BRG_OK) rc = keyfile_parse(text, &out->public_key, secret);
    if (rc != BRG_OK) {
        rc = brg_why_set(why, BRG_ECORRUPT,
                         "%s is no Brigade key file, or a damaged one: bring it back from a copy, "
                         "or make a new key with brigade keygen",
                         path);
        memset(out, 0, sizeof *out);
        goto out;
    }
    (void)sodium_mprotect_readonly(secret);
    out->secret = secret; /* ownership moves to the caller */
    secret = NULL;
out:
    sodium_memzero(text, sizeof text);
    sodium_free(secret);
    if (fd >= 0) (void)close(fd);
    return rc;
}

int brg_keyfile_ensure(const char *path, struct brg_keypair *out, int *created,
                       struct brg_why *why) {
    if (created != NULL) *created = 0;
    int rc = brg_keyfile_load(path, out, why);
    if (rc != BRG_ENOENT) return rc;
    rc = brg_keypair_create(out, why);
    if (rc != BRG_OK) return rc;
    rc = brg_keyfile_save(path, out, why);
    if (rc != BRG_OK) {
        brg_keypair_wipe(out);
        /* Another process made one in between: that one counts. */
        return rc == BRG_EEXIST ? brg_keyfile_load(path, out, why) : rc;
    }
    if (created != NULL) *created = 1;
    return BRG_OK;
}

const char *brg_key_format(const struct brg_key *key, char *out) {
    const char *text = zmq_z85_encode(out, key->bytes, sizeof key->bytes);
    BRG_ASSERT(text != NULL);
    return text;
}

int brg_key_parse(const char *text, struct brg_key *out, struct brg_why *why) {
    const size_t size_bytes = strnlen(text, BRG_KEY_TEXT_BYTES);
    if (size_bytes != KEY_TEXT) {
        return brg_why_set(why, BRG_EINVAL,
                           "a public key has 40 characters and this one has %s%zu: the shell may "
                           "have eaten some, put it in single quotes",
                           size_bytes > KEY_TEXT ? "more than " : "",
                           size_bytes > KEY_TEXT ? (size_t)KEY_TEXT : size_bytes);
    }
    if (z85_read(text, out->bytes) != BRG_OK) {
        return brg_why_set(why, BRG_EINVAL,
                           "a public key holds a character that Z85 does not have: copy it again");
    }
    return BRG_OK;
}

int brg_key_equal(const struct brg_key *a, const struct brg_key *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
