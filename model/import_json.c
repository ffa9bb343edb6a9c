#include "model/import_json.h"

#include "base/file.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define WHOLE_MAX 9007199254740992.0 /* 2^53: a double has every whole number up to here */

int brg_import_json_parse(const struct brg_import_json *j, const uint8_t *text, size_t size_bytes,
                          size_t max_bytes, cJSON **out) {
    const char *end = NULL;
    *out = NULL;
    if (size_bytes > max_bytes)
        return brg_why_set(j->why, BRG_ENOMEM,
                           "%s: %zu bytes of JSON, more than the %zu that are read", j->name,
                           size_bytes, max_bytes);
    cJSON *root = cJSON_ParseWithLengthOpts((const char *)text, size_bytes, &end, 0);
    if (root == NULL)
        return brg_why_set(j->why, BRG_ECORRUPT,
                           "%s: it is no JSON from byte %zu on; fetch the file again", j->name,
                           end == NULL ? (size_t)0 : (size_t)(end - (const char *)text));
    const size_t used = (size_t)(end - (const char *)text);
    size_t at = used;
    while (at < size_bytes && strchr(" \t\r\n", text[at]) != NULL && text[at] != '\0') at++;
    if (at < size_bytes || !cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return brg_why_set(j->why, BRG_ECORRUPT, "%s: %s; fetch the file again", j->name,
                           at < size_bytes ? "more follows behind its JSON"
                                           : "its JSON is not an object");
    }
    *out = root;
    return BRG_OK;
}

int brg_import_json_file(const char *path, size_t max_bytes, struct brg_why *why, cJSON **out) {
    const struct brg_import_json j = {path, why};
    uint8_t *text = NULL;
    size_t size = 0;
    *out = NULL;
    int rc = brg_file_read(path, max_bytes, &text, &size);
    if (rc != BRG_OK)
        return brg_why_set(why, rc, "%s: cannot be read (%s); check the path", path,
                           strerror(errno));
    rc = brg_import_json_parse(&j, text, size, max_bytes, out);
    free(text);
    return rc;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int brg_import_json_unique(const struct brg_import_json *j, const cJSON *object) {
    size_t count = 0, i = 0;
    int rc = BRG_OK;
    for (const cJSON *c = object->child; c != NULL; c = c->next) count++;
    if (count < 2) return BRG_OK;
    const char **names = malloc(count * sizeof *names);
    if (names == NULL) return brg_why_set(j->why, BRG_ENOMEM, "%s: out of memory", j->name);
    for (const cJSON *c = object->child; c != NULL; c = c->next) names[i++] = c->string;
    qsort(names, count, sizeof *names, by_name);
    for (i = 1; i < count && rc == BRG_OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            rc = brg_why_set(j->why, BRG_ECORRUPT, "%s: '%.80s' stands in it twice", j->name,
                             names[i]);
    free(names);
    return rc;
}

int brg_import_json_whole(const cJSON *item, uint64_t *out) {
    if (!cJSON_IsNumber(item)) return 0;
    const double v = item->valuedouble;
    if (!(v >= 0 && v <= WHOLE_MAX) || v != floor(v)) return 0;
    *out = (uint64_t)v;
    return 1;
}

const cJSON *brg_import_json_get(const cJSON *o, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
    return item == NULL || cJSON_IsNull(item) ? NULL : item;
}

int brg_import_json_count(const struct brg_import_json *j, const cJSON *o, const char *key,
                          uint32_t max, uint32_t *out) {
    const cJSON *item = brg_import_json_get(o, key);
    uint64_t v = 0;
    if (item == NULL) return BRG_OK;
    if (!brg_import_json_whole(item, &v) || v > max)
        return brg_why_set(j->why, BRG_ECORRUPT, "%s: %s must be a whole number from 0 to %u",
                           j->name, key, max);
    *out = (uint32_t)v;
    return BRG_OK;
}

int brg_import_json_float(const struct brg_import_json *j, const cJSON *o, const char *key,
                          float *out) {
    const cJSON *item = brg_import_json_get(o, key);
    if (item == NULL) return BRG_OK;
    if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) <= 1e30))
        return brg_why_set(j->why, BRG_ECORRUPT, "%s: %s must be a number", j->name, key);
    *out = (float)item->valuedouble;
    return BRG_OK;
}

int brg_import_json_flag(const struct brg_import_json *j, const cJSON *o, const char *key,
                         uint32_t *out) {
    const cJSON *item = brg_import_json_get(o, key);
    if (item == NULL) return BRG_OK;
    if (!cJSON_IsBool(item))
        return brg_why_set(j->why, BRG_ECORRUPT, "%s: %s must be true or false", j->name, key);
    *out = cJSON_IsTrue(item) ? 1 : 0;
    return BRG_OK;
}
