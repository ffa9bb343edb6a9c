/* gradlog_private.h - the layout on disk, for the files of the gradient log only. */
#ifndef BRG_GRADLOG_PRIVATE_H
#define BRG_GRADLOG_PRIVATE_H

#include "base/file.h"
#include "coordinator/shell/gradlog.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "headers and gradients are written as they lie in memory, which has to be little-endian"
#endif

#define BRG_GRADLOG_VERSION 1u
#define BRG_GRADLOG_HEADER_BYTES 4096u
#define BRG_GRADLOG_RECORD_BYTES 128u /* of a record's header */
#define BRG_GRADLOG_NAME_BYTES 64u
#define BRG_GRADLOG_PATH_BYTES (BRG_FILE_PATH_BYTES + BRG_GRADLOG_NAME_BYTES)

/* The start of a segment; the rest of its 4096 bytes is zero. */
struct brg_gradlog_segment_header {
    char magic[8];
    uint32_t version, header_bytes;
    uint64_t run, elements, first_step;
    struct brg_digest digest; /* of the fields above */
};

struct brg_gradlog_record_header {
    char magic[4];
    uint32_t version;
    uint64_t run, step, count, elements, segment, offset;
    struct brg_digest gradient; /* of the data that follows */
    uint8_t zero[8];
    struct brg_digest digest; /* of the fields above */
};

_Static_assert(sizeof(struct brg_gradlog_segment_header) == 72, "no padding on disk");
_Static_assert(sizeof(struct brg_gradlog_record_header) == BRG_GRADLOG_RECORD_BYTES, "no padding");

struct brg_gradlog {
    uint64_t run, elements;
    uint64_t record_bytes;                       /* header and data */
    uint64_t next_step;                          /* that may be appended */
    uint64_t end;                                /* of the last record, in the newest segment */
    uint64_t allocated;                          /* size of the newest segment's file */
    uint64_t segments[BRG_GRADLOG_SEGMENTS_MAX]; /* first steps, ascending */
    uint32_t segment_count;
    int fd;     /* of the newest segment, -1: there is none */
    int rolled; /* 1: the next append starts a segment */
    int failed; /* BRG_OK, or the error of the append that failed */
    struct brg_why why;
    char folder[BRG_FILE_PATH_BYTES];
};

/* brg_gradlog_path - the file of a segment, into out [BRG_GRADLOG_PATH_BYTES]; returns out. */
const char *brg_gradlog_path(const struct brg_gradlog *log, uint64_t segment, char *out);

/* brg_gradlog_read_exactly - `size` bytes from `offset`. errors: BRG_ECORRUPT the file is shorter;
 * BRG_EIO */
BRG_CHECK int brg_gradlog_read_exactly(int fd, void *out, size_t size, uint64_t offset);

/* brg_gradlog_check_record - reads a record's header and verifies all but the data.
 * errors: BRG_ECORRUPT not a record of this log at this place; BRG_EIO */
BRG_CHECK int brg_gradlog_check_record(const struct brg_gradlog *log, int fd, uint64_t segment,
                                       uint64_t offset, struct brg_gradlog_record_header *out);

/* brg_gradlog_segment_digest, brg_gradlog_record_digest - of the fields before the digest. */
void brg_gradlog_segment_digest(const struct brg_gradlog_segment_header *h, struct brg_digest *out);
void brg_gradlog_record_digest(const struct brg_gradlog_record_header *h, struct brg_digest *out);

extern const char brg_gradlog_segment_magic[8];

#endif
