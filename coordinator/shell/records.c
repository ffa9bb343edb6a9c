#include "coordinator/shell/records.h"

#include <string.h>

/* One function a record names its fields once, for both directions: what is packed is by
 * construction what is unpacked. */
struct codec {
    uint8_t *out;      /* NULL: unpacking */
    const uint8_t *in; /* NULL: packing */
    size_t at, size;   /* size: of `in`, or room in `out` */
    int bad;           /* unpacking ran past the end or met something impossible */
};

static void field_bytes(struct codec *c, void *field, size_t size) {
    if (c->bad || size > c->size - c->at) {
        BRG_ASSERT(c->out == NULL); /* the room for packing is a constant of the record */
        c->bad = 1;
        return;
    }
    if (c->out != NULL) memcpy(c->out + c->at, field, size);
    if (c->in != NULL) memcpy(field, c->in + c->at, size);
    c->at += size;
}

static void field_number(struct codec *c, uint64_t *value, uint32_t size) {
    uint8_t bytes[8] = {0};
    for (uint32_t i = 0; i < size; i++) bytes[i] = (uint8_t)(*value >> (8 * i));
    field_bytes(c, bytes, size);
    if (c->in == NULL || c->bad) return;
    *value = 0;
    for (uint32_t i = 0; i < size; i++) *value |= (uint64_t)bytes[i] << (8 * i);
}

static void field_u64(struct codec *c, uint64_t *value) {
    field_number(c, value, 8);
}

static void field_u32(struct codec *c, uint32_t *value) {
    uint64_t wide = *value;
    field_number(c, &wide, 4);
    *value = (uint32_t)wide;
}

static void field_double(struct codec *c, double *value) {
    uint64_t bits;
    memcpy(&bits, value, sizeof bits);
    field_u64(c, &bits);
    memcpy(value, &bits, sizeof bits);
}

static void field_version(struct codec *c) {
    uint64_t version = BRG_RECORD_VERSION;
    field_number(c, &version, 1);
    if (version != BRG_RECORD_VERSION) c->bad = 1;
}

/* A text of fixed size. What follows its NUL is made zero, so that equal texts pack equally. */
static void field_name(struct codec *c, char *text, size_t size) {
    const size_t length = strnlen(text, size);
    BRG_ASSERT(c->out == NULL || length < size);
    if (c->out != NULL) memset(text + length, 0, size - length);
    field_bytes(c, text, size);
    if (c->in != NULL && !c->bad && strnlen(text, size) == size) c->bad = 1;
}

/* A text of free size: the last field of its record. */
static void field_text(struct codec *c, const char **text, uint32_t *size, uint32_t max) {
    BRG_ASSERT(c->out == NULL || *size <= max);
    field_u32(c, size);
    if (c->bad) return;
    if (*size > max || *size > c->size - c->at) {
        c->bad = 1;
        return;
    }
    if (c->out != NULL && *size > 0) memcpy(c->out + c->at, *text, *size);
    if (c->in != NULL) *text = (const char *)(c->in + c->at);
    c->at += *size;
}

static void fields_of_member(struct codec *c, struct brg_record_member *r) {
    field_version(c);
    field_bytes(c, r->key, sizeof r->key);
    field_u32(c, &r->state);
    field_name(c, r->name, sizeof r->name);
    field_u64(c, &r->first_seen_ns);
    field_u64(c, &r->last_seen_ns);
    field_u64(c, &r->token_id);
    field_u64(c, &r->shares_used);
    field_u64(c, &r->shares_rejected);
}

static void fields_of_token(struct codec *c, struct brg_record_token *r) {
    field_version(c);
    field_u64(c, &r->id);
    field_bytes(c, r->hash, sizeof r->hash);
    field_name(c, r->label, sizeof r->label);
    field_u64(c, &r->created_ns);
    field_u64(c, &r->expires_ns);
    field_u32(c, &r->uses_left);
    field_u32(c, &r->revoked);
}

static void fields_of_run(struct codec *c, struct brg_record_run *r) {
    field_version(c);
    field_u64(c, &r->id);
    field_name(c, r->name, sizeof r->name);
    field_u32(c, &r->state);
    field_u32(c, &r->kind);
    field_u64(c, &r->submitted_ns);
    field_u64(c, &r->ended_ns);
    field_u64(c, &r->steps);
    field_u64(c, &r->seed);
    field_bytes(c, r->data_digest.bytes, sizeof r->data_digest.bytes);
    field_name(c, r->reason, sizeof r->reason);
    field_text(c, &r->yaml, &r->yaml_bytes, BRG_RECORD_YAML_BYTES_MAX);
}

static void fields_of_step(struct codec *c, struct brg_record_step *r) {
    field_version(c);
    field_u64(c, &r->run);
    field_u64(c, &r->step);
    field_u64(c, &r->epoch);
    field_u32(c, &r->attempt);
    field_u32(c, &r->used_count);
    field_u64(c, &r->log_segment);
    field_u64(c, &r->log_offset);
    field_u64(c, &r->log_bytes);
    field_bytes(c, r->gradient.bytes, sizeof r->gradient.bytes);
    field_double(c, &r->loss_sum);
    field_u64(c, &r->count);
    field_double(c, &r->lr);
    field_double(c, &r->norm);
    field_u64(c, &r->committed_ns);
    field_u64(c, &r->round_ns);
    field_u32(c, &r->waited);
    field_bytes(c, r->used, sizeof r->used);
    field_bytes(c, r->previous.bytes, sizeof r->previous.bytes);
    field_bytes(c, r->digest.bytes, sizeof r->digest.bytes); /* last: not part of itself */
}

static void fields_of_code(struct codec *c, struct brg_record_code *r) {
    struct brg_code_spec *code = &r->code;
    field_version(c);
    field_u64(c, &r->run);
    field_u64(c, &r->step);
    field_u64(c, &code->seed);
    uint32_t *const numbers[] = {&code->kind,   &code->n,      &code->s,     &code->chunks,
                                 &code->policy, &code->mu_ppm, &code->base,  &code->b,
                                 &code->w,      &code->lambda, &code->parts, &code->delay,
                                 &code->rule};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) field_u32(c, numbers[i]);
}

static void fields_of_event(struct codec *c, struct brg_record_event *r) {
    field_version(c);
    field_u64(c, &r->sequence);
    field_u64(c, &r->time_ns);
    field_u64(c, &r->run);
    field_u32(c, &r->kind);
    field_bytes(c, r->key, sizeof r->key);
    field_text(c, &r->text, &r->text_bytes, BRG_RECORD_TEXT_BYTES_MAX);
}

/* The two directions of every record differ in types only. */
#define RECORD_FUNCTIONS(name, max)                                                                \
    size_t brg_record_##name##_pack(const struct brg_record_##name *r, uint8_t *out) {             \
        struct brg_record_##name copy = *r;                                                        \
        struct codec c = {.out = out, .size = (max)};                                              \
        fields_of_##name(&c, &copy);                                                               \
        return c.at;                                                                               \
    }                                                                                              \
    int brg_record_##name##_unpack(const uint8_t *in, size_t size, struct brg_record_##name *r) {  \
        struct codec c = {.in = in, .size = size};                                                 \
        memset(r, 0, sizeof *r);                                                                   \
        fields_of_##name(&c, r);                                                                   \
        if (!c.bad && c.at == size) return BRG_OK;                                                 \
        memset(r, 0, sizeof *r);                                                                   \
        return BRG_ECORRUPT;                                                                       \
    }

RECORD_FUNCTIONS(member, BRG_RECORD_MEMBER_BYTES)
RECORD_FUNCTIONS(token, BRG_RECORD_TOKEN_BYTES)
RECORD_FUNCTIONS(run, BRG_RECORD_RUN_BYTES_MAX)
RECORD_FUNCTIONS(step, BRG_RECORD_STEP_BYTES)
RECORD_FUNCTIONS(code, BRG_RECORD_CODE_BYTES)
RECORD_FUNCTIONS(event, BRG_RECORD_EVENT_BYTES_MAX)

void brg_record_step_digest(const struct brg_record_step *r, struct brg_digest *out) {
    uint8_t packed[BRG_RECORD_STEP_BYTES];
    const size_t size = brg_record_step_pack(r, packed);
    BRG_ASSERT(size == BRG_RECORD_STEP_BYTES);
    brg_digest_of(packed, size - BRG_DIGEST_BYTES, out);
}

void brg_record_key_u64(uint64_t id, uint8_t *out) {
    for (uint32_t i = 0; i < 8; i++) out[i] = (uint8_t)(id >> (56 - 8 * i));
}

void brg_record_key_step(uint64_t run, uint64_t step, uint8_t *out) {
    brg_record_key_u64(run, out);
    brg_record_key_u64(step, out + 8);
}

uint64_t brg_record_key_read_u64(const uint8_t *in) {
    uint64_t id = 0;
    for (uint32_t i = 0; i < 8; i++) id = id << 8 | in[i];
    return id;
}
