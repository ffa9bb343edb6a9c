/* fuzz_model.c - arbitrary bytes into every reader of models and tokenizers.
 *
 * The first byte picks the reader. Whatever a reader accepts is used to the end: every tensor's
 * bytes are touched, a tokenizer encodes a text and is written and read again. What it refuses it
 * has to explain. */
#include "base/why.h"
#include "model/gguf.h"
#include "model/hf_config.h"
#include "model/import_private.h"
#include "model/llama2c.h"
#include "model/safetensors.h"
#include "model/tokenizer.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct brg_why why;
static volatile uint8_t sink;

static void touch(const uint8_t *bytes, uint64_t size) {
    if (size == 0) return;
    sink = (uint8_t)(sink + bytes[0]);
    sink = (uint8_t)(sink + bytes[size - 1]);
}

static int try_safetensors(const uint8_t *bytes, size_t size) {
    struct brg_safetensors s;
    const int rc = brg_safetensors_parse("x", bytes, size, &s, &why);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < s.count; i++) touch(s.tensors[i].data, s.tensors[i].size_bytes);
    brg_safetensors_close(&s);
    return BRG_OK;
}

static void use_tokenizer(struct brg_tokenizer *t) {
    static const uint8_t text[] = "It's 12 \xc3\xa9\xff\n\n  <|endoftext|> aaaa bbbb";
    struct brg_tokenizer_info info;
    struct brg_token_list list = {.ids = NULL};
    struct brg_encoder *e = NULL;
    char *json = NULL;
    size_t json_size = 0;
    brg_tokenizer_info_of(t, &info);
    if (brg_encoder_create(t, &e) == BRG_OK &&
        brg_encoder_add(e, text, sizeof text, BRG_ENCODE_MARKS, &list) == BRG_OK)
        for (size_t i = 0; i < list.count; i++) BRG_ASSERT(list.ids[i] < info.vocab);
    free(list.ids);
    brg_encoder_destroy(e);
    if (brg_tokenizer_json(t, &json, &json_size, NULL) == BRG_OK) free(json);
    brg_tokenizer_destroy(t);
}

static int try_gguf(const uint8_t *bytes, size_t size) {
    struct brg_gguf g;
    struct brg_tokenizer *t = NULL;
    const int rc = brg_gguf_parse("x", bytes, size, &g, &why);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < g.tensor_count; i++) touch(g.tensors[i].data, g.tensors[i].size_bytes);
    if (brg_import_gguf_tokenizer(&g, &t, &why) == BRG_OK) use_tokenizer(t);
    brg_gguf_close(&g);
    return BRG_OK;
}

static int try_config(const uint8_t *bytes, size_t size) {
    struct brg_hf_config c, again;
    char *text = NULL;
    const int rc = brg_hf_config_parse("x", bytes, size, &c, &why);
    if (rc != BRG_OK) return rc;
    BRG_ASSERT(brg_hf_config_text(&c, &text) == BRG_OK);
    BRG_ASSERT(brg_hf_config_parse("y", (const uint8_t *)text, strlen(text), &again, &why) ==
               BRG_OK);
    BRG_ASSERT(memcmp(&c.spec, &again.spec, sizeof c.spec) == 0 ||
               c.spec.rope_scaling.type == BRG_ROPE_LINEAR);
    free(text);
    return BRG_OK;
}

static int try_llama2c(const uint8_t *bytes, size_t size) {
    struct brg_llama2c l;
    const int rc = brg_llama2c_parse("x", bytes, size, &l, &why);
    if (rc != BRG_OK) return rc;
    touch(l.floats, l.float_count * sizeof(float));
    for (uint32_t i = 0; i < brg_model_tensor_count(&l.spec); i++) {
        struct brg_model_tensor t;
        brg_model_tensor(&l.spec, i, &t);
        touch(l.floats + brg_llama2c_place(&l.spec, l.version, i) * sizeof(float),
              (uint64_t)t.rows * t.cols * sizeof(float));
    }
    return BRG_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct brg_tokenizer *t = NULL;
    int rc = BRG_OK;
    if (size < 1) return 0;
    uint8_t *rest = malloc(size); /* its own block: a byte too far is seen */
    if (rest == NULL) return 0;
    memcpy(rest, data + 1, size - 1);
    why.text[0] = '\0';
    switch (data[0] % 6) {
    case 0: rc = try_safetensors(rest, size - 1); break;
    case 1: rc = try_gguf(rest, size - 1); break;
    case 2: rc = try_config(rest, size - 1); break;
    case 3: rc = try_llama2c(rest, size - 1); break;
    case 4: rc = brg_tokenizer_parse_json("x", rest, size - 1, &t, &why); break;
    default: rc = brg_tokenizer_parse_bin("x", rest, size - 1, &t, &why); break;
    }
    if (t != NULL) use_tokenizer(t);
    if (rc != BRG_OK) BRG_ASSERT(why.text[0] != '\0');
    free(rest);
    return 0;
}
