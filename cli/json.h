/* json.h - reading replies: values by name, with something sensible where they are missing.
 *
 * A coordinator of another version may leave fields out; no verb fails over that. All functions
 * allow a NULL object. Thread-safe on objects that nobody changes. */
#ifndef BRG_CLI_JSON_H
#define BRG_CLI_JSON_H

#include "base/base.h"

#include <cjson/cJSON.h>

/* brg_json_text - the text at `key`, or `fallback`. own: the object's */
const char *brg_json_text(const cJSON *object, const char *key, const char *fallback);

/* brg_json_number - the number at `key`; NaN where there is none, or null. */
double brg_json_number(const cJSON *object, const char *key);

/* brg_json_u64 - the whole number at `key`, 0 where there is none; exact up to 2^53. */
uint64_t brg_json_u64(const cJSON *object, const char *key);

/* brg_json_is_true - 1 where `key` is true. */
int brg_json_is_true(const cJSON *object, const char *key);

/* brg_json_object - the object at `key`; NULL where there is none, or null. */
const cJSON *brg_json_object(const cJSON *object, const char *key);

/* brg_json_first - the first item of the list at `key`, NULL if empty or missing; the next ones
 * follow by ->next. */
const cJSON *brg_json_first(const cJSON *object, const char *key);

/* brg_json_print - one line to `out`. errors: BRG_ENOMEM */
BRG_CHECK int brg_json_print(const cJSON *json, FILE *out);

#endif
