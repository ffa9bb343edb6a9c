/* The witness: how far the store was when a write was last acknowledged.
 *
 * RocksDB takes a damaged length field near the end of its write-ahead log for a torn write and
 * drops what follows without an error, also in the mode that refuses damaged records (seen with
 * one flipped bit in about a thousand). So each acknowledged write also notes RocksDB's sequence
 * number in a small file of its own, and a store that opens with a lower one has lost writes.
 *
 *   WITNESS = sequence u64 big-endian, the first 16 bytes of its BLAKE2b
 *
 * The note is not synced: the kernel keeps it when the process is killed, and after a power cut it
 * is at worst an older one, which still is true. One that does not verify proves nothing. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/shell/store_private.h"

#define WITNESS_BYTES 24u

static void pack(uint64_t sequence, uint8_t *out) {
    struct brg_digest d;
    brg_record_key_u64(sequence, out);
    brg_digest_of(out, 8, &d);
    memcpy(out + 8, d.bytes, WITNESS_BYTES - 8);
}

/* The sequence noted last; 0 where there is none that verifies. */
static uint64_t read_note(int fd) {
    uint8_t noted[WITNESS_BYTES] = {0}, expected[WITNESS_BYTES];
    if (pread(fd, noted, sizeof noted, 0) != (ssize_t)sizeof noted) return 0;
    const uint64_t sequence = brg_record_key_read_u64(noted);
    pack(sequence, expected);
    return memcmp(noted, expected, sizeof noted) == 0 ? sequence : 0;
}

int brg_store_witness_note(struct brg_store *store) {
    uint8_t note[WITNESS_BYTES];
    pack(rocksdb_get_latest_sequence_number(store->db), note);
    const ssize_t written = pwrite(store->witness, note, sizeof note, 0);
    if (written == (ssize_t)sizeof note) return BRG_OK;
    if (written >= 0) errno = ENOSPC; /* a short write of a few bytes has no other reason */
    return brg_why_set(&store->why, brg_file_error(errno),
                       "store %s: WITNESS cannot be written: %s", store->path, strerror(errno));
}

int brg_store_witness_open(struct brg_store *store) {
    char path[BRG_FILE_PATH_BYTES + 16];
    (void)snprintf(path, sizeof path, "%s/WITNESS", store->path);
    store->witness = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (store->witness < 0) {
        return brg_why_set(&store->why, brg_file_error(errno), "store %s: WITNESS: %s", store->path,
                           strerror(errno));
    }
    const uint64_t seen = read_note(store->witness);
    const uint64_t now = rocksdb_get_latest_sequence_number(store->db);
    if (now < seen) {
        return brg_why_set(&store->why, BRG_ECORRUPT,
                           "store %s: the last %llu of its writes are gone although they were "
                           "synced, so nothing was started: restore the folder from a backup, or "
                           "move it away and submit the runs again",
                           store->path, (unsigned long long)(seen - now));
    }
    const int rc = brg_store_witness_note(store);
    if (rc != BRG_OK) return rc;
    if (fdatasync(store->witness) == 0 && brg_dir_sync(store->path) == BRG_OK) return BRG_OK;
    return brg_why_set(&store->why, brg_file_error(errno), "store %s: WITNESS cannot be synced: %s",
                       store->path, strerror(errno));
}
