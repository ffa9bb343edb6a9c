#include "cli/json.h"

#include <math.h>

const char *brg_json_text(const cJSON *object, const char *key, const char *fallback) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : fallback;
}

double brg_json_number(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

uint64_t brg_json_u64(const cJSON *object, const char *key) {
    double number = brg_json_number(object, key);
    if (isnan(number) || number < 0) return 0;
    return number < 18446744073709551615.0 ? (uint64_t)number : UINT64_MAX;
}

int brg_json_is_true(const cJSON *object, const char *key) {
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, key)) ? 1 : 0;
}

const cJSON *brg_json_object(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsObject(item) ? item : NULL;
}

const cJSON *brg_json_first(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsArray(item) ? item->child : NULL;
}

int brg_json_print(const cJSON *json, FILE *out) {
    char *text = cJSON_PrintUnformatted(json);
    if (text == NULL) return BRG_ENOMEM;
    fprintf(out, "%s\n", text);
    cJSON_free(text);
    return BRG_OK;
}
