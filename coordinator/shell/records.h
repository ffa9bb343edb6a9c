/* records.h - what the store keeps, and how each record looks as bytes.
 *
 * A packed record is: one version byte, then the fields in the order given here, little-endian,
 * without padding; texts of fixed size are filled up with NUL, texts of free size come last.
 * Numbers once written are never reused for something else; a new layout gets a new version byte.
 * Keys are big-endian, so that RocksDB's order is the order of the ids:
 *
 *   members  key[32]          tokens  id u64          runs    run u64
 *   codes: in family META, see keep.c
 *   steps    run u64, step u64                        events  sequence u64
 *
 * Times are nanoseconds since 1970 in UTC. Pure and thread-safe; no allocation. */
#ifndef BRG_RECORDS_H
#define BRG_RECORDS_H

#include "base/base.h"
#include "base/digest.h"
#include "coding/spec.h"

#define BRG_RECORD_VERSION 1u
#define BRG_RECORD_NAME_BYTES 64u    /* with the closing NUL */
#define BRG_RECORD_REASON_BYTES 256u /* with the closing NUL */
#define BRG_RECORD_YAML_BYTES_MAX 65536u
#define BRG_RECORD_TEXT_BYTES_MAX 1024u /* of an event */
#define BRG_RECORD_KEY_BYTES 32u        /* a CURVE public key */
#define BRG_RECORD_POSITIONS 1024u      /* bits in the bitmap of a step */

#define BRG_RECORD_MEMBER_BYTES 141u
#define BRG_RECORD_TOKEN_BYTES 129u
#define BRG_RECORD_RUN_BYTES_MAX (405u + BRG_RECORD_YAML_BYTES_MAX)
#define BRG_RECORD_STEP_BYTES 333u
#define BRG_RECORD_CODE_BYTES 77u
#define BRG_RECORD_EVENT_BYTES_MAX (65u + BRG_RECORD_TEXT_BYTES_MAX)

enum brg_record_member_state {
    BRG_MEMBER_RECORD_ALLOWED = 1,
    BRG_MEMBER_RECORD_QUARANTINED = 2,
    BRG_MEMBER_RECORD_REVOKED = 3,
};

/* A key that may speak. */
struct brg_record_member {
    uint8_t key[BRG_RECORD_KEY_BYTES];
    char name[BRG_RECORD_NAME_BYTES];
    uint64_t first_seen_ns, last_seen_ns;
    uint64_t token_id;        /* the token it joined by; 0: allowed by the operator */
    uint64_t shares_used;     /* shares that went into a step */
    uint64_t shares_rejected; /* shares located as wrong */
    uint32_t state;           /* enum brg_record_member_state */
};

/* A join token. The token itself is never stored, only its BLAKE2b-256. */
struct brg_record_token {
    uint64_t id; /* from 1 */
    uint64_t created_ns, expires_ns;
    uint8_t hash[32];
    char label[BRG_RECORD_NAME_BYTES];
    uint32_t uses_left;
    uint32_t revoked; /* 0 or 1 */
};

enum brg_record_run_state {
    BRG_RUN_RECORD_QUEUED = 1,
    BRG_RUN_RECORD_RUNNING = 2,
    BRG_RUN_RECORD_PAUSED = 3,
    BRG_RUN_RECORD_DONE = 4,
    BRG_RUN_RECORD_STOPPED = 5,
    BRG_RUN_RECORD_FAILED = 6,
};

/* A submitted run. */
struct brg_record_run {
    uint64_t id; /* from 1 */
    uint64_t submitted_ns;
    uint64_t ended_ns; /* 0: not yet */
    uint64_t steps;    /* that it is to take */
    uint64_t seed;
    struct brg_digest data_digest; /* of the data set it was submitted with */
    char name[BRG_RECORD_NAME_BYTES];
    char reason[BRG_RECORD_REASON_BYTES]; /* why it failed or was stopped; else empty */
    uint32_t state;                       /* enum brg_record_run_state */
    uint32_t kind;                        /* run kind: the number that the run file's reader uses */
    uint32_t yaml_bytes;                  /* 0 .. BRG_RECORD_YAML_BYTES_MAX */
    const char *yaml;                     /* the run file, not NUL-terminated; borrowed */
};

/* A step that is committed: once this is synced the step counts, whatever dies. */
struct brg_record_step {
    uint64_t run, step;                          /* step from 1, no holes */
    uint64_t epoch;                              /* of the coordinator that committed it */
    uint64_t log_segment, log_offset, log_bytes; /* where its gradient is; bytes 0: not logged */
    struct brg_digest gradient;                  /* of the decoded float32 sum */
    double loss_sum;                             /* over `count` */
    uint64_t count;                              /* samples or tokens in the sum */
    double lr, norm;                             /* learning rate; norm before clipping */
    uint64_t committed_ns;                       /* wall time */
    uint64_t round_ns;                           /* how long the step took */
    uint32_t attempt;
    uint32_t used_count;                    /* shares that went in */
    uint32_t waited;                        /* 1: more were late than the code tolerates */
    uint8_t used[BRG_RECORD_POSITIONS / 8]; /* bit i of byte i/8: position i went in */
    struct brg_digest previous;             /* digest of the step before; zeros for step 1 */
    struct brg_digest digest;               /* of this record packed, without these last 32 bytes */
};

/* The code of a run in force after `step`; a run without such a record uses its run file's. */
struct brg_record_code {
    uint64_t run, step;
    struct brg_code_spec code;
};

/* Something an operator may want to read about. */
struct brg_record_event {
    uint64_t sequence; /* given by the store, from 1 */
    uint64_t time_ns;
    uint64_t run;                      /* 0: of the coordinator as a whole */
    uint8_t key[BRG_RECORD_KEY_BYTES]; /* the worker concerned; zeros: none */
    uint32_t kind;                     /* number that the coordinator's core gives it */
    uint32_t text_bytes;               /* 0 .. BRG_RECORD_TEXT_BYTES_MAX */
    const char *text;                  /* not NUL-terminated; borrowed */
};

/* brg_record_*_pack - the record as bytes into out; returns how many.
 *
 * shape:   out [the BYTES or BYTES_MAX above]
 * asserts: texts of fixed size end in NUL; sizes of free ones are within their bound */
size_t brg_record_member_pack(const struct brg_record_member *r, uint8_t *out);
size_t brg_record_token_pack(const struct brg_record_token *r, uint8_t *out);
size_t brg_record_run_pack(const struct brg_record_run *r, uint8_t *out);
size_t brg_record_step_pack(const struct brg_record_step *r, uint8_t *out);
size_t brg_record_code_pack(const struct brg_record_code *r, uint8_t *out);
size_t brg_record_event_pack(const struct brg_record_event *r, uint8_t *out);

/* brg_record_*_unpack - the record in `size` bytes at `in`.
 *
 * own:    texts of free size point into `in`
 * errors: BRG_ECORRUPT unknown version, wrong length, or a text without its NUL; *r is zeroed */
BRG_CHECK int brg_record_member_unpack(const uint8_t *in, size_t size, struct brg_record_member *r);
BRG_CHECK int brg_record_token_unpack(const uint8_t *in, size_t size, struct brg_record_token *r);
BRG_CHECK int brg_record_run_unpack(const uint8_t *in, size_t size, struct brg_record_run *r);
BRG_CHECK int brg_record_step_unpack(const uint8_t *in, size_t size, struct brg_record_step *r);
BRG_CHECK int brg_record_code_unpack(const uint8_t *in, size_t size, struct brg_record_code *r);
BRG_CHECK int brg_record_event_unpack(const uint8_t *in, size_t size, struct brg_record_event *r);

/* brg_record_step_digest - BLAKE2b-256 of the packed record but for its own digest. */
void brg_record_step_digest(const struct brg_record_step *r, struct brg_digest *out);

/* brg_record_key_u64, brg_record_key_step - keys in big-endian order, out [8] and out [16]. */
void brg_record_key_u64(uint64_t id, uint8_t *out);
void brg_record_key_step(uint64_t run, uint64_t step, uint8_t *out);

/* brg_record_key_read_u64 - the id at the start of a key, in [8]. */
uint64_t brg_record_key_read_u64(const uint8_t *in);

#endif
