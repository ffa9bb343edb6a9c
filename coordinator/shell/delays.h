/* delays.h - what the workers of a run took, kept in a bounded file of the run for whoever wants to
 * replay codes on it (`brigade run export-delays`, `brigade sim rounds`).
 *
 *   FOLDER/delays.bin       the newest records; when it is full it becomes
 *   FOLDER/delays.old.bin   the ones before; what this held is given up
 *
 *   file: 32 bytes (magic, number of its first record, zeros), then records of 32 bytes as struct
 *         brg_delay lies in memory, little-endian
 *
 * It is a record for people and for tuning, not a promise: nothing of it is synced, a crash may
 * cost its end, and a disk that does not take it ends the recording with a warning and nothing
 * else. One thread, the reactor. */
#ifndef BRG_DELAYS_H
#define BRG_DELAYS_H

#include "base/base.h"

#define BRG_DELAYS_FILE_RECORDS (UINT64_C(1) << 20) /* 32 MiB a file, two files a run */
#define BRG_DELAYS_PENDING_MAX 2048u                /* records that wait to be written together */

/* One thing seen: so long after the round began the member had done `chunks` of the `total` of a
 * batch, or (censored) had not done them when the round ended after so long. */
struct brg_delay {
    uint64_t round; /* as added: of the process; as read: of the run, rising over restarts */
    uint64_t ns;
    uint32_t member, chunks, total;
    uint32_t censored; /* 0 or 1 */
};

struct brg_delays;

/* brg_delays_open - goes on with the record of the run in `folder`; what a crash tore is cut off.
 * own: *out is the caller's, brg_delays_close. A file that cannot be opened is a warning */
void brg_delays_open(const char *folder, struct brg_delays **out);

/* brg_delays_add - one more record. cost: now and then a write of 64 KiB to the page cache */
void brg_delays_add(struct brg_delays *d, const struct brg_delay *delay);

/* brg_delays_flush - what was added can be read. */
void brg_delays_flush(struct brg_delays *d);

void brg_delays_close(struct brg_delays **d);

/* brg_delays_read - records from number `from` on (the first ever added is 0; those given up are
 * skipped), also of a run that is not open.
 *
 * shape:  out [room], *count of them are filled; *next: where to go on. 0 of them: that was all
 * errors: BRG_EIO, BRG_EPERM the files cannot be read; BRG_ECORRUPT not files of ours */
BRG_CHECK int brg_delays_read(const char *folder, uint64_t from, struct brg_delay *out,
                              uint32_t room, uint32_t *count, uint64_t *next);

#endif
