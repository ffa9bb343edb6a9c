/* statedir.h - the folder that makes a worker the same worker after a restart.
 *
 *   STATE/worker.key    its CURVE key pair, 0600: who it is
 *   STATE/lock          held while the process lives; holds the session number of the last start
 *   STATE/data-HEX      data sets, named by their digest
 *
 * One process at a time: two with one key would displace each other for ever. */
#ifndef BRG_WORKER_SHELL_STATEDIR_H
#define BRG_WORKER_SHELL_STATEDIR_H

#include "base/digest.h"
#include "base/file.h"
#include "base/why.h"
#include "proto/keys.h"

#define BRG_STATEDIR_BYTES 3072u /* its path with the NUL: file names must fit behind it */
#define BRG_STATEDIR_DATA_MAX 8u /* data sets kept */

struct brg_statedir {
    char path[BRG_STATEDIR_BYTES];
    int lock_fd;      /* -1: closed */
    uint64_t session; /* of this process: above that of every start before, never 0 */
    struct brg_keypair key;
    int is_new; /* 1: the key was made just now */
};

/* brg_statedir_open - makes the folder if it is missing, locks it, loads or makes the key.
 *
 * path:    NULL or empty: $XDG_STATE_HOME/brigade, else ~/.local/state/brigade
 * wall_ns: Unix time, from which the session number is made
 * errors:  BRG_EEXIST another process has it; BRG_EPERM, BRG_ENOSPC, BRG_EIO, BRG_ECORRUPT, ...;
 *          *why is a sentence. d is closed then */
BRG_CHECK int brg_statedir_open(struct brg_statedir *d, const char *path, uint64_t wall_ns,
                                struct brg_why *why);

/* brg_statedir_close - wipes the key, lets the lock go; closed is allowed. */
void brg_statedir_close(struct brg_statedir *d);

/* brg_statedir_data_path - where the data set with this digest is kept.
 * shape: out [BRG_FILE_PATH_BYTES]; returns out */
const char *brg_statedir_data_path(const struct brg_statedir *d, const struct brg_digest *digest,
                                   char *out);

/* brg_statedir_prune - removes the data sets used longest ago, so that BRG_STATEDIR_DATA_MAX are
 * left, and never the one with digest `keep`. Marks that one as used now. What cannot be removed
 * stays: it is only room on the disk. */
void brg_statedir_prune(const struct brg_statedir *d, const struct brg_digest *keep);

#endif
