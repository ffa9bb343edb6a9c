/* Its bytes are JSON made by cJSON without the closing brace, then exactly
 *   ,\n"manifest_digest": "<64 hex digits>"}\n
 * so that the digest covers everything before that line. */
#include "coordinator/shell/checkpoint_sealed.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "coordinator/shell/checkpoint_private.h"

#define TAIL_START ",\n\"manifest_digest\": \""
#define TAIL_END "\"}\n"
#define TAIL_BYTES (sizeof TAIL_START - 1 + BRG_DIGEST_HEX_BYTES - 1 + sizeof TAIL_END - 1)

int brg_sealed_put_u64(cJSON *o, const char *name, uint64_t value) {
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    return cJSON_AddStringToObject(o, name, text) != NULL;
}

int brg_sealed_put_digest(cJSON *o, const char *name, const struct brg_digest *d) {
    char hex[BRG_DIGEST_HEX_BYTES];
    return cJSON_AddStringToObject(o, name, brg_digest_hex(d, hex)) != NULL;
}

int brg_sealed_write(const char *path, const cJSON *o, struct brg_digest *digest,
                     struct brg_why *why) {
    int rc = BRG_OK;
    char hex[BRG_DIGEST_HEX_BYTES];
    char *text = malloc(BRG_CHECKPOINT_MANIFEST_BYTES_MAX);

    if (text == NULL || o == NULL ||
        !cJSON_PrintPreallocated((cJSON *)(uintptr_t)o, text,
                                 (int)(BRG_CHECKPOINT_MANIFEST_BYTES_MAX - TAIL_BYTES), 1)) {
        rc = brg_why_set(why, BRG_ENOMEM, "%s: no memory left to write it", path);
        goto out;
    }
    size_t size = strlen(text);
    while (size > 0 && (text[size - 1] == '}' || text[size - 1] == '\n')) size--;
    brg_digest_of(text, size, digest);
    size += (size_t)snprintf(text + size, TAIL_BYTES + 1, "%s%s%s", TAIL_START,
                             brg_digest_hex(digest, hex), TAIL_END);
    rc = brg_file_write_atomic(path, 0600, text, size);
    if (rc != BRG_OK) rc = brg_checkpoint_disk_error(path, "writing it", why);
out:
    free(text);
    return rc;
}

/* Cuts the last member off and verifies the rest against it; *size is then of valid JSON. */
static int verify_text(uint8_t *text, size_t *size, struct brg_digest *digest) {
    char hex[BRG_DIGEST_HEX_BYTES], tail[TAIL_BYTES + 1];
    if (*size <= TAIL_BYTES) return BRG_ECORRUPT;
    const size_t body = *size - TAIL_BYTES;
    brg_digest_of(text, body, digest);
    (void)snprintf(tail, sizeof tail, "%s%s%s", TAIL_START, brg_digest_hex(digest, hex), TAIL_END);
    if (memcmp(text + body, tail, TAIL_BYTES) != 0) return BRG_ECORRUPT;
    text[body] = '}';
    text[body + 1] = '\0';
    *size = body + 1;
    return BRG_OK;
}

int brg_sealed_damaged(const char *path, struct brg_why *why) {
    return brg_why_set(why, BRG_ECORRUPT,
                       "%s: does not verify: this checkpoint cannot be used; restore the file "
                       "from a backup, or delete its folder so that an older checkpoint is taken",
                       path);
}

int brg_sealed_read(const char *path, cJSON **out, struct brg_digest *digest, struct brg_why *why) {
    uint8_t *text = NULL;
    size_t size = 0;
    *out = NULL;
    int rc = brg_file_read(path, BRG_CHECKPOINT_MANIFEST_BYTES_MAX, &text, &size);
    if (rc == BRG_ENOENT) return rc;
    if (rc == BRG_ENOMEM && errno == EFBIG) return brg_sealed_damaged(path, why);
    if (rc != BRG_OK) return brg_checkpoint_disk_error(path, "reading it", why);
    rc = verify_text(text, &size, digest);
    if (rc == BRG_OK) *out = cJSON_ParseWithLength((const char *)text, size);
    free(text);
    return *out != NULL ? BRG_OK : brg_sealed_damaged(path, why);
}

int brg_sealed_get_u64(const cJSON *o, const char *name, uint64_t *value) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
    char *end = NULL;
    if (text == NULL || text[0] < '0' || text[0] > '9') return 0;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

int brg_sealed_get_text(const cJSON *o, const char *name, char *out, size_t size) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
    if (text == NULL || strlen(text) >= size) return 0;
    memcpy(out, text, strlen(text) + 1);
    return 1;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int brg_sealed_get_digest(const cJSON *o, const char *name, struct brg_digest *out) {
    char hex[BRG_DIGEST_HEX_BYTES];
    if (!brg_sealed_get_text(o, name, hex, sizeof hex) || strlen(hex) != sizeof hex - 1) return 0;
    for (size_t i = 0; i < BRG_DIGEST_BYTES; i++) {
        const int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
        if (high < 0 || low < 0) return 0;
        out->bytes[i] = (uint8_t)(high * 16 + low);
    }
    return 1;
}
