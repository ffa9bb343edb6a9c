/* prepare_json.h - the few lines of JSON that a manifest needs. For model/prepare*.c. */
#ifndef BRG_PREPARE_JSON_H
#define BRG_PREPARE_JSON_H

#include "base/digest.h"

#include <stdio.h>

/* A file as a manifest lists it. */
struct brg_prepare_file {
    const char *path;
    const char *role; /* NULL: a source */
    uint64_t bytes;
    struct brg_digest digest; /* of the file's bytes */
};

/* brg_prepare_json_string - `text` as a JSON string with its quotes; what is not UTF-8 becomes
 * U+FFFD, one for each byte. */
void brg_prepare_json_string(FILE *out, const char *text);

/* brg_prepare_json_files - "key": [{path, role, bytes, blake2b_256}, ...], without a comma after.
 */
void brg_prepare_json_files(FILE *out, const char *key, const struct brg_prepare_file *files,
                            uint32_t count);

#endif
