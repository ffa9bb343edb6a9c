/* import_json.h - JSON of files from elsewhere: parsed within bounds, read by strict getters that
 * write the sentence. For model/ only.
 *
 * Bounded: size before parsing, nesting by cJSON's own limit. A key that comes twice is an error
 * where brg_import_json_unique is asked, since readers differ in which one they take. */
#ifndef BRG_MODEL_IMPORT_JSON_H
#define BRG_MODEL_IMPORT_JSON_H

#include "base/why.h"

#include <cjson/cJSON.h>

/* The file a value came from, for sentences. */
struct brg_import_json {
    const char *name;
    struct brg_why *why;
};

/* brg_import_json_parse - an object, followed by nothing but blanks.
 *
 * own:    *out is the caller's, cJSON_Delete; NULL after an error
 * errors: BRG_ECORRUPT not JSON, not an object, or not UTF-8; BRG_ENOMEM over max_bytes */
BRG_CHECK int brg_import_json_parse(const struct brg_import_json *j, const uint8_t *text,
                                    size_t size_bytes, size_t max_bytes, cJSON **out);

/* brg_import_json_file - the same from a file of at most max_bytes. errors: also those of
 * base/file.h */
BRG_CHECK int brg_import_json_file(const char *path, size_t max_bytes, struct brg_why *why,
                                   cJSON **out);

/* brg_import_json_unique - BRG_ECORRUPT where a key of `object` comes twice. cost: O(n log n) */
BRG_CHECK int brg_import_json_unique(const struct brg_import_json *j, const cJSON *object);

/* Values by key; one that is missing or null leaves *out as it is, so that it holds the default.
 * errors: BRG_ECORRUPT of another type or out of range */
BRG_CHECK int brg_import_json_count(const struct brg_import_json *j, const cJSON *o,
                                    const char *key, uint32_t max, uint32_t *out);
BRG_CHECK int brg_import_json_float(const struct brg_import_json *j, const cJSON *o,
                                    const char *key, float *out);
BRG_CHECK int brg_import_json_flag(const struct brg_import_json *j, const cJSON *o, const char *key,
                                   uint32_t *out);

/* brg_import_json_whole - 1 and *out where `item` is a whole number in [0, 2^53]. */
int brg_import_json_whole(const cJSON *item, uint64_t *out);

/* brg_import_json_get - the value at `key`; NULL where it is missing or null. */
const cJSON *brg_import_json_get(const cJSON *o, const char *key);

#endif
