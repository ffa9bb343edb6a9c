/* prepare.h - turns the files people have into the files a run trains on; behind 'brigade data
 * prepare'.
 *
 *   texts, folders ──► PREFIX_train.bin, PREFIX_val.bin   llm.c shards, one uint16 token a byte
 *                      PREFIX.json                        manifest, written last
 *   IDX, CSV, ...  ──► NAME.brgdata                       packed data set (model/data.h)
 *                      NAME.brgdata.json                  manifest, written last
 *
 * Each file is written beside its name, synced and renamed; the manifest comes last, so one that is
 * there belongs to files that are whole. What was written is opened again, as a run would, before
 * the manifest says so.
 *
 * Manifest (JSON): format, version, counts of both parts, "digest" of the data set (that of
 * brg_data_open on the files written), and for every file and source its size in bytes and its
 * BLAKE2b-256 (as b2sum -l 256 prints). Bytes of a path that are not UTF-8 appear as U+FFFD.
 * Not thread-safe towards the same output names. */
#ifndef BRG_PREPARE_H
#define BRG_PREPARE_H

#include "model/data.h"

#define BRG_PREPARE_FILES_MAX 65536u /* texts joined at once */
#define BRG_PREPARE_DEPTH_MAX 16u    /* folders inside folders */

struct brg_prepare_texts {
    const char *const *inputs; /* files and folders, in the order they are joined */
    uint32_t input_count;
    const char *prefix; /* of the names written; its folder is made if need be */
    double held_out;    /* share of the end, [0, 0.5]; 0: no _val.bin */
};

/* What was written, for the verb's closing lines. */
struct brg_prepare_report {
    uint64_t train_count, held_count; /* tokens or rows */
    uint64_t bytes;                   /* of the files written, without the manifest */
    uint32_t sources;                 /* files read */
    struct brg_digest digest;
    char train[BRG_PATH_BYTES]; /* data.train of a run */
    char held[BRG_PATH_BYTES];  /* data.test of a run; empty: none */
    char manifest[BRG_PATH_BYTES];
};

/* brg_prepare_shards - joins texts and writes them as token shards.
 *
 * A folder stands for all files *.txt and *.txt.gz in it and in folders below it, by path in byte
 * order; names with a leading dot are left out. gzip files are unpacked. Between two texts goes one
 * line end, unless the first ends in one.
 * errors: BRG_ENOENT, BRG_EPERM, BRG_EIO, BRG_ENOSPC of the files; BRG_EINVAL nothing to read,
 * held_out out of its range, over 2^31 - 1 tokens a shard, a path too long; BRG_EFULL over
 *         BRG_PREPARE_FILES_MAX texts; BRG_ECORRUPT a source changed meanwhile. error->text says it
 *         all; no manifest is written then
 * cost:   reads the sources twice, writes 2 bytes a byte */
BRG_CHECK int brg_prepare_shards(const struct brg_prepare_texts *texts,
                                 struct brg_prepare_report *report, struct brg_data_error *error);

/* brg_prepare_packed - opens a data set and writes it in packed form to `path`.
 * errors: those of brg_data_open, and of writing */
BRG_CHECK int brg_prepare_packed(const struct brg_data_spec *spec, const char *path,
                                 struct brg_prepare_report *report, struct brg_data_error *error);

#endif
