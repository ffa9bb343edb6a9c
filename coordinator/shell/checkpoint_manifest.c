/* The manifest: written last, verified before it is parsed.
 *
 * Its bytes are JSON made by cJSON without the closing brace, then exactly
 *   ,\n"manifest_digest": "<64 hex digits>"}\n
 * so that the digest covers everything before that line. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "coordinator/shell/checkpoint_private.h"

#define TAIL_START ",\n\"manifest_digest\": \""
#define TAIL_END "\"}\n"
#define TAIL_BYTES (sizeof TAIL_START - 1 + BRG_DIGEST_HEX_BYTES - 1 + sizeof TAIL_END - 1)

/* cJSON's numbers are doubles, which do not hold 64 bits: they travel as decimal texts. */
static int put_u64(cJSON *o, const char *name, uint64_t value) {
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    return cJSON_AddStringToObject(o, name, text) != NULL;
}

static int put_digest(cJSON *o, const char *name, const struct brg_digest *d) {
    char hex[BRG_DIGEST_HEX_BYTES];
    return cJSON_AddStringToObject(o, name, brg_digest_hex(d, hex)) != NULL;
}

static int put_file(cJSON *files, const struct brg_checkpoint_tensor *t) {
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(files, o)) {
        cJSON_Delete(o);
        return 0;
    }
    char name[BRG_CHECKPOINT_FILE_BYTES];
    return cJSON_AddStringToObject(o, "name", brg_checkpoint_tensor_name(t, name)) != NULL &&
           put_u64(o, "bytes", BRG_CHECKPOINT_TENSOR_BYTES + t->elements * sizeof(float)) &&
           put_u64(o, "elements", t->elements) && put_digest(o, "digest", &t->digest);
}

static int put_files(cJSON *files, const struct brg_checkpoint *c) {
    for (uint32_t m = 0; m < c->models; m++) {
        const struct brg_checkpoint_tensor params =
            brg_checkpoint_tensor_of(c, BRG_CHECKPOINT_PARAMS, m);
        const struct brg_checkpoint_tensor optimizer =
            brg_checkpoint_tensor_of(c, BRG_CHECKPOINT_OPTIMIZER, m);
        if (!put_file(files, &params) || !put_file(files, &optimizer)) return 0;
    }
    return 1;
}

/* The object, or NULL where there is no memory left. */
static cJSON *make_object(const struct brg_checkpoint *c) {
    const uint32_t format = c->models > 1 ? BRG_CHECKPOINT_FORMAT_MODELS : BRG_CHECKPOINT_FORMAT;
    cJSON *files = NULL;
    cJSON *o = cJSON_CreateObject();
    if (o != NULL && cJSON_AddNumberToObject(o, "format", format) != NULL &&
        put_u64(o, "run", c->run) && cJSON_AddStringToObject(o, "name", c->name) != NULL &&
        put_u64(o, "step", c->step) && put_u64(o, "optimizer_step", c->optimizer_step) &&
        put_u64(o, "data_position", c->data_position) && put_u64(o, "seed", c->seed) &&
        put_u64(o, "generator", c->generator) && put_u64(o, "created_ns", c->created_ns) &&
        put_digest(o, "data_digest", &c->data) &&
        cJSON_AddStringToObject(o, "model", c->model) != NULL &&
        (files = cJSON_AddArrayToObject(o, "files")) != NULL && put_files(files, c)) {
        return o;
    }
    cJSON_Delete(o);
    return NULL;
}

int brg_checkpoint_manifest_write(const char *path, struct brg_checkpoint *c, struct brg_why *why) {
    int rc = BRG_OK;
    char hex[BRG_DIGEST_HEX_BYTES];
    char *text = malloc(BRG_CHECKPOINT_MANIFEST_BYTES_MAX);
    cJSON *o = make_object(c);

    if (text == NULL || o == NULL ||
        !cJSON_PrintPreallocated(o, text, (int)(BRG_CHECKPOINT_MANIFEST_BYTES_MAX - TAIL_BYTES),
                                 1)) {
        rc = brg_why_set(why, BRG_ENOMEM, "%s: no memory left to write it", path);
        goto out;
    }
    size_t size = strlen(text);
    while (size > 0 && (text[size - 1] == '}' || text[size - 1] == '\n')) size--;
    brg_digest_of(text, size, &c->manifest);
    size += (size_t)snprintf(text + size, TAIL_BYTES + 1, "%s%s%s", TAIL_START,
                             brg_digest_hex(&c->manifest, hex), TAIL_END);
    rc = brg_file_write_atomic(path, 0600, text, size);
    if (rc != BRG_OK) rc = brg_checkpoint_disk_error(path, "writing it", why);
out:
    cJSON_Delete(o);
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

static int get_u64(const cJSON *o, const char *name, uint64_t *value) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
    char *end = NULL;
    if (text == NULL || text[0] < '0' || text[0] > '9') return 0;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static int get_text(const cJSON *o, const char *name, char *out, size_t size) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
    if (text == NULL || strlen(text) >= size) return 0;
    memcpy(out, text, strlen(text) + 1);
    return 1;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int get_digest(const cJSON *o, const char *name, struct brg_digest *out) {
    char hex[BRG_DIGEST_HEX_BYTES];
    if (!get_text(o, name, hex, sizeof hex) || strlen(hex) != sizeof hex - 1) return 0;
    for (size_t i = 0; i < BRG_DIGEST_BYTES; i++) {
        const int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
        if (high < 0 || low < 0) return 0;
        out->bytes[i] = (uint8_t)(high * 16 + low);
    }
    return 1;
}

/* Both files of a model; all models have the same sizes. */
static int get_file(const cJSON *o, uint32_t kind, uint32_t model, struct brg_checkpoint *c) {
    char name[BRG_CHECKPOINT_FILE_BYTES], own[BRG_CHECKPOINT_FILE_BYTES];
    const int params = kind == BRG_CHECKPOINT_PARAMS;
    uint64_t bytes = 0, elements = 0;
    uint64_t *all = params ? &c->params_elements : &c->optimizer_elements;
    const struct brg_checkpoint_tensor t = brg_checkpoint_tensor_of(c, kind, model);
    if (!get_text(o, "name", name, sizeof name) ||
        strcmp(name, brg_checkpoint_tensor_name(&t, own)) != 0 || !get_u64(o, "bytes", &bytes) ||
        !get_u64(o, "elements", &elements) ||
        !get_digest(o, "digest", params ? &c->params[model] : &c->optimizer[model])) {
        return 0;
    }
    if (model == 0) *all = elements;
    return elements == *all && elements <= BRG_CHECKPOINT_ELEMENTS_MAX &&
           bytes == BRG_CHECKPOINT_TENSOR_BYTES + elements * sizeof(float);
}

static int get_files(const cJSON *o, uint32_t format, struct brg_checkpoint *c) {
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(o, "files");
    const int count = cJSON_GetArraySize(files);
    if (count < 2 || count > 2 * (int)BRG_MODELS_MAX || count % 2 != 0) return 0;
    c->models = (uint32_t)count / 2;
    if ((c->models > 1) != (format == BRG_CHECKPOINT_FORMAT_MODELS)) return 0;
    for (uint32_t m = 0; m < c->models; m++) {
        const int first = (int)(2 * m);
        if (!get_file(cJSON_GetArrayItem(files, first), BRG_CHECKPOINT_PARAMS, m, c) ||
            !get_file(cJSON_GetArrayItem(files, first + 1), BRG_CHECKPOINT_OPTIMIZER, m, c)) {
            return 0;
        }
    }
    return 1;
}

static int get_fields(const cJSON *o, uint32_t format, struct brg_checkpoint *c) {
    return get_u64(o, "run", &c->run) && get_text(o, "name", c->name, sizeof c->name) &&
           get_u64(o, "step", &c->step) && get_u64(o, "optimizer_step", &c->optimizer_step) &&
           get_u64(o, "data_position", &c->data_position) && get_u64(o, "seed", &c->seed) &&
           get_u64(o, "generator", &c->generator) && get_u64(o, "created_ns", &c->created_ns) &&
           get_digest(o, "data_digest", &c->data) &&
           get_text(o, "model", c->model, sizeof c->model) && get_files(o, format, c);
}

int brg_checkpoint_manifest_read(const char *path, struct brg_checkpoint *c, struct brg_why *why) {
    uint8_t *text = NULL;
    size_t size = 0;
    struct brg_digest digest;
    cJSON *o = NULL;
    int rc = brg_file_read(path, BRG_CHECKPOINT_MANIFEST_BYTES_MAX, &text, &size);

    if (rc == BRG_ENOENT) return rc;
    if (rc == BRG_ENOMEM && errno == EFBIG)
        rc = BRG_ECORRUPT;
    else if (rc != BRG_OK)
        return brg_checkpoint_disk_error(path, "reading it", why);
    if (rc == BRG_OK) rc = verify_text(text, &size, &digest);
    if (rc == BRG_OK) {
        o = cJSON_ParseWithLength((const char *)text, size);
        const cJSON *format = cJSON_GetObjectItemCaseSensitive(o, "format");
        const int number = cJSON_IsNumber(format) ? format->valueint : 0;
        if (cJSON_IsNumber(format) && number != (int)BRG_CHECKPOINT_FORMAT &&
            number != (int)BRG_CHECKPOINT_FORMAT_MODELS) {
            rc = brg_why_set(why, BRG_EINVAL,
                             "%s: has format %d and this program reads %u and %u: use the version "
                             "that wrote it",
                             path, number, BRG_CHECKPOINT_FORMAT, BRG_CHECKPOINT_FORMAT_MODELS);
            goto out;
        }
        if (number == 0 || !get_fields(o, (uint32_t)number, c)) rc = BRG_ECORRUPT;
    }
    if (rc == BRG_ECORRUPT) {
        (void)brg_why_set(
            why, rc,
            "%s: does not verify: this checkpoint cannot be used; restore the file "
            "from a backup, or delete its folder so that an older checkpoint is taken",
            path);
    } else {
        c->manifest = digest;
    }
out:
    cJSON_Delete(o);
    free(text);
    return rc;
}
