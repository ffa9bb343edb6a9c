/* test_export - each format out and in again, to the bit; every byte of a file accounted for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/export.h"
#include "model/gguf.h"
#include "model/import_layout.h"
#include "model/llama2c.h"
#include "model/safetensors.h"
#include "tests/unit/kernels/numbers.h"
#include "tests/unit/model/tokenizer_vectors.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct brg_why why;

struct fixture {
    char dir[48];
    struct brg_model_spec spec;
    struct brg_tokenizer *tokenizer;
    float *params;
    uint64_t count;
};

static struct fixture fixture_new(uint32_t tied) {
    struct fixture f = {.dir = "/tmp/brg_exportXXXXXX"};
    const struct brg_tokenizer_train how = {.vocab = 300, .kind = BRG_TOKENIZER_GPT2};
    f.spec = (struct brg_model_spec){.type = BRG_MODEL_LLAMA,
                                     .dim = 24,
                                     .layers = 2,
                                     .heads = 4,
                                     .kv_heads = 2,
                                     .hidden = 20,
                                     .context = 16,
                                     .vocab = 304,
                                     .tied = tied,
                                     .rope_theta = 10000.0f,
                                     .norm_eps = 1e-5f};
    assert_non_null(mkdtemp(f.dir));
    assert_int_equal(
        brg_tokenizer_train_on(&how, vector_text, sizeof vector_text, &f.tokenizer, &why), BRG_OK);
    f.count = brg_model_param_count(&f.spec);
    f.params = numbers_new(3, 0.5, f.count);
    return f;
}

static void remove_all(const char *dir) {
    char path[512];
    DIR *d = opendir(dir);
    if (d == NULL) return;
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        remove_all(path);
        (void)unlink(path);
    }
    (void)closedir(d);
    (void)rmdir(dir);
}

static void fixture_drop(struct fixture *f) {
    remove_all(f->dir);
    brg_tokenizer_destroy(f->tokenizer);
    free(f->params);
}

static const char *in(const struct fixture *f, const char *name) {
    static char paths[4][256];
    static uint32_t used;
    char *p = paths[used++ % 4];
    (void)snprintf(p, sizeof paths[0], "%s/%s", f->dir, name);
    return p;
}

static int write_it(const struct fixture *f, uint32_t format, uint32_t dtype, const char *path) {
    const struct brg_export e = {.path = path,
                                 .format = format,
                                 .dtype = dtype,
                                 .spec = &f->spec,
                                 .tokenizer = f->tokenizer,
                                 .source = brg_export_params(f->params),
                                 .notes = {.run = "r \"1\"", .step = 7, .data_digest = "ab"}};
    return brg_export_write(&e, &why);
}

static void must_write(const struct fixture *f, uint32_t format, uint32_t dtype, const char *path) {
    if (write_it(f, format, dtype, path) != BRG_OK) fail_msg("%s", why.text);
}

static float *must_read(const struct fixture *f, const char *path, uint32_t format,
                        struct brg_tokenizer **tokenizer) {
    struct brg_import *m = NULL;
    struct brg_import_info info;
    if (brg_import_open(path, &m, &why) != BRG_OK) fail_msg("%s", why.text);
    brg_import_info_of(m, &info);
    assert_int_equal(info.format, format);
    assert_int_equal(info.param_count, f->count);
    assert_memory_equal(&info.spec, &f->spec, sizeof f->spec);
    float *params = malloc(f->count * sizeof *params);
    assert_non_null(params);
    assert_int_equal(brg_import_load(m, params, &why), BRG_OK);
    if (brg_import_tokenizer(m, tokenizer, &why) != BRG_OK) fail_msg("%s", why.text);
    brg_import_close(m);
    return params;
}

/* Ids of the text of many scripts by both tokenizers. */
static void must_encode_alike(const struct brg_tokenizer *a, const struct brg_tokenizer *b) {
    struct brg_token_list x = {.ids = NULL}, y = {.ids = NULL};
    struct brg_encoder *e = NULL;
    assert_int_equal(brg_encoder_create(a, &e), BRG_OK);
    assert_int_equal(brg_encoder_add(e, vector_text, sizeof vector_text, BRG_ENCODE_MARKS, &x),
                     BRG_OK);
    brg_encoder_destroy(e);
    assert_int_equal(brg_encoder_create(b, &e), BRG_OK);
    assert_int_equal(brg_encoder_add(e, vector_text, sizeof vector_text, BRG_ENCODE_MARKS, &y),
                     BRG_OK);
    brg_encoder_destroy(e);
    assert_int_equal(x.count, y.count);
    assert_memory_equal(x.ids, y.ids, x.count * sizeof x.ids[0]);
    free(x.ids);
    free(y.ids);
}

static void export_f32__comes_back_with_the_same_bits(void **state) {
    (void)state;
    const struct {
        uint32_t format;
        const char *name;
    } outs[] = {{BRG_FILE_HF, "hf"}, {BRG_FILE_GGUF, "m.gguf"}, {BRG_FILE_LLAMA2C, "m.bin"}};
    for (uint32_t tied = 0; tied < 2; tied++) {
        struct fixture f = fixture_new(tied);
        for (uint32_t i = 0; i < 3; i++) {
            struct brg_tokenizer *t = NULL;
            const char *path = in(&f, outs[i].name);
            must_write(&f, outs[i].format, BRG_WEIGHT_F32, path);
            float *params = must_read(&f, path, outs[i].format, &t);
            assert_memory_equal(params, f.params, f.count * sizeof *params);
            if (outs[i].format != BRG_FILE_LLAMA2C) must_encode_alike(t, f.tokenizer);
            brg_tokenizer_destroy(t);
            free(params);
        }
        fixture_drop(&f);
    }
}

/* Narrow numbers that go out again give the same file, byte for byte. */
static void export_of_an_import__is_the_same_file(void **state) {
    (void)state;
    const uint32_t dtypes[] = {BRG_WEIGHT_F16, BRG_WEIGHT_BF16};
    struct fixture f = fixture_new(0);
    for (uint32_t d = 0; d < 2; d++) {
        const char *names[2][2] = {{"a.gguf", "b.gguf"}, {"a", "b"}};
        for (uint32_t k = 0; k < 2; k++) {
            const uint32_t format = k == 0 ? BRG_FILE_GGUF : BRG_FILE_HF;
            struct brg_tokenizer *t = NULL;
            struct brg_file_map one, two;
            char inner[2][300];
            remove_all(in(&f, "a"));
            remove_all(in(&f, "b"));
            must_write(&f, format, dtypes[d], in(&f, names[k][0]));
            float *params = must_read(&f, in(&f, names[k][0]), format, &t);
            struct fixture again = f;
            again.params = params;
            must_write(&again, format, dtypes[d], in(&f, names[k][1]));
            for (uint32_t i = 0; i < 2; i++)
                (void)snprintf(inner[i], sizeof inner[i], "%s%s", in(&f, names[k][i]),
                               k == 0 ? "" : "/model.safetensors");
            assert_int_equal(brg_file_map_open(inner[0], UINT64_MAX, &one), BRG_OK);
            assert_int_equal(brg_file_map_open(inner[1], UINT64_MAX, &two), BRG_OK);
            assert_int_equal(one.size_bytes, two.size_bytes);
            assert_memory_equal(one.data, two.data, one.size_bytes);
            brg_file_map_close(&one);
            brg_file_map_close(&two);
            brg_tokenizer_destroy(t);
            free(params);
        }
    }
    fixture_drop(&f);
}

/* Head 0 of q: row 2k + j of a file with pairs is row j * half + k here. */
static void export_rotary_rows__stand_as_each_format_wants_them(void **state) {
    (void)state;
    struct fixture f = fixture_new(1);
    struct brg_gguf g;
    struct brg_llama2c l;
    struct brg_file_map map;
    struct brg_model_tensor q;
    const uint32_t cols = f.spec.dim, head_dim = f.spec.dim / f.spec.heads, half = head_dim / 2;
    brg_model_tensor(&f.spec, 2, &q);
    assert_string_equal(q.name, "model.layers.0.self_attn.q_proj.weight");
    must_write(&f, BRG_FILE_GGUF, BRG_WEIGHT_F32, in(&f, "m.gguf"));
    must_write(&f, BRG_FILE_LLAMA2C, BRG_WEIGHT_F32, in(&f, "m.bin"));
    assert_int_equal(brg_gguf_open(in(&f, "m.gguf"), &g, &why), BRG_OK);
    assert_int_equal(brg_file_map_open(in(&f, "m.bin"), UINT64_MAX, &map), BRG_OK);
    assert_int_equal(brg_llama2c_parse("m", map.data, map.size_bytes, &l, &why), BRG_OK);
    const struct brg_gguf_tensor *t = brg_gguf_tensor_find(&g, "blk.0.attn_q.weight");
    assert_non_null(t);
    const uint8_t *bin = l.floats + brg_llama2c_place(&f.spec, 0, 2) * sizeof(float);
    for (uint32_t j = 0; j < 2; j++) {
        for (uint32_t k = 0; k < half; k++) {
            const float *here = f.params + q.offset + (size_t)(j * half + k) * cols;
            const size_t there = (size_t)(2 * k + j) * cols * sizeof(float);
            assert_memory_equal(t->data + there, here, cols * sizeof(float));
            assert_memory_equal(bin + there, here, cols * sizeof(float));
        }
    }
    brg_gguf_close(&g);
    brg_file_map_close(&map);
    fixture_drop(&f);
}

/* Marks the bytes of a part; none may be marked twice. */
static void mark(uint8_t *seen, size_t size, size_t at, size_t count) {
    assert_true(at <= size && count <= size - at);
    for (size_t i = at; i < at + count; i++) {
        assert_int_equal(seen[i], 0);
        seen[i] = 1;
    }
}

static void must_be_covered(const uint8_t *seen, const uint8_t *bytes, size_t size,
                            size_t alignment) {
    size_t run = 0;
    for (size_t i = 0; i < size; i++) {
        run = seen[i] ? 0 : run + 1;
        if (run > 0 && bytes[i] != 0) fail_msg("byte %zu has no meaning and is not zero", i);
        assert_true(run < alignment || alignment == 0);
        if (alignment == 0) assert_int_equal(seen[i], 1);
    }
}

static void export_gguf__every_byte_has_a_meaning(void **state) {
    (void)state;
    struct fixture f = fixture_new(0);
    struct brg_gguf g;
    f.spec.rope_scaling = (struct brg_rope_scaling){
        .type = BRG_ROPE_LLAMA3, .factor = 8, .low_freq = 1, .high_freq = 4, .original_context = 8};
    must_write(&f, BRG_FILE_GGUF, BRG_WEIGHT_F16, in(&f, "m.gguf"));
    assert_int_equal(brg_gguf_open(in(&f, "m.gguf"), &g, &why), BRG_OK);
    const size_t size = g.map.size_bytes;
    uint8_t *seen = calloc(size, 1);
    assert_non_null(seen);
    mark(seen, size, 0, 24);
    for (uint32_t i = 0; i < g.key_count; i++) {
        const struct brg_gguf_key *k = &g.keys[i];
        const size_t head = k->type == BRG_GGUF_LIST ? 16 : 4;
        mark(seen, size, (size_t)(k->name.bytes - g.map.data) - 8, 8 + k->name.size);
        mark(seen, size, (size_t)(k->data - g.map.data) - head, head + k->size_bytes);
    }
    for (uint32_t i = 0; i < g.tensor_count; i++) {
        const struct brg_gguf_tensor *t = &g.tensors[i];
        mark(seen, size, (size_t)(t->name.bytes - g.map.data) - 8,
             8 + t->name.size + 4 + 8 * t->dims + 12);
        mark(seen, size, (size_t)(t->data - g.map.data), t->size_bytes);
        assert_int_equal((t->data - g.map.data) % 32, 0);
        assert_int_equal(t->dtype, t->dims == 1 ? BRG_WEIGHT_F32 : BRG_WEIGHT_F16);
    }
    must_be_covered(seen, g.map.data, size, 32);
    assert_non_null(brg_gguf_tensor_find(&g, "rope_freqs.weight"));
    free(seen);
    brg_gguf_close(&g);
    struct brg_tokenizer *t = NULL;
    free(must_read(&f, in(&f, "m.gguf"), BRG_FILE_GGUF, &t));
    brg_tokenizer_destroy(t);
    fixture_drop(&f);
}

static void export_hf__every_byte_of_the_weights_has_a_meaning(void **state) {
    (void)state;
    struct fixture f = fixture_new(0);
    struct brg_safetensors s;
    must_write(&f, BRG_FILE_HF, BRG_WEIGHT_BF16, in(&f, "hf"));
    assert_int_equal(brg_safetensors_open(in(&f, "hf/model.safetensors"), &s, &why), BRG_OK);
    uint64_t header = 0;
    memcpy(&header, s.map.data, 8);
    uint8_t *seen = calloc(s.map.size_bytes, 1);
    assert_non_null(seen);
    mark(seen, s.map.size_bytes, 0, 8 + header);
    for (uint32_t i = 0; i < s.count; i++)
        mark(seen, s.map.size_bytes, (size_t)(s.tensors[i].data - s.map.data),
             s.tensors[i].size_bytes);
    must_be_covered(seen, s.map.data, s.map.size_bytes, 0);
    assert_int_equal(s.count, brg_model_tensor_count(&f.spec));
    free(seen);
    brg_safetensors_close(&s);
    fixture_drop(&f);
}

static void must_refuse(const struct fixture *f, uint32_t format, uint32_t dtype, const char *path,
                        int err, const char *words) {
    struct stat st;
    assert_int_equal(write_it(f, format, dtype, path), err);
    if (strstr(why.text, words) == NULL) fail_msg("'%s' lacks '%s'", why.text, words);
    if (err != BRG_EEXIST) assert_int_not_equal(stat(path, &st), 0);
}

static void export_that_cannot_be__leaves_nothing_and_says_why(void **state) {
    (void)state;
    struct fixture f = fixture_new(1);
    must_refuse(&f, BRG_FILE_LLAMA2C, BRG_WEIGHT_F16, in(&f, "m.bin"), BRG_EINVAL, "f32 only");
    f.params[5] = 70000.0f;
    must_refuse(&f, BRG_FILE_GGUF, BRG_WEIGHT_F16, in(&f, "m.gguf"), BRG_EINVAL, "too large");
    must_refuse(&f, BRG_FILE_HF, BRG_WEIGHT_F16, in(&f, "hf"), BRG_EINVAL, "too large");
    f.params[5] = NAN;
    must_refuse(&f, BRG_FILE_HF, BRG_WEIGHT_F32, in(&f, "hf"), BRG_EINVAL, "not finite");
    f.params[5] = 1;
    f.spec.norm_eps = 1e-6f;
    must_refuse(&f, BRG_FILE_LLAMA2C, BRG_WEIGHT_F32, in(&f, "m.bin"), BRG_EINVAL, "norm_eps");
    f.spec.vocab = 299;
    must_refuse(&f, BRG_FILE_HF, BRG_WEIGHT_F32, in(&f, "hf"), BRG_EINVAL, "tokenizer");
    f.spec.vocab = 304;
    must_refuse(&f, BRG_FILE_GGUF, BRG_WEIGHT_F32, in(&f, "no/m.gguf"), BRG_ENOENT, "written");
    must_write(&f, BRG_FILE_HF, BRG_WEIGHT_F32, in(&f, "hf"));
    must_refuse(&f, BRG_FILE_HF, BRG_WEIGHT_F32, in(&f, "hf"), BRG_EEXIST, "there already");
    f.spec.type = BRG_MODEL_MLP;
    must_refuse(&f, BRG_FILE_HF, BRG_WEIGHT_F32, in(&f, "hf2"), BRG_EINVAL, "llama");
    fixture_drop(&f);
}

/* A file cut off anywhere is refused, never half read. */
static void import_of_a_cut_file__is_refused(void **state) {
    (void)state;
    struct fixture f = fixture_new(0);
    struct brg_file_map map;
    const char *names[] = {"m.gguf", "m.bin", "hf/model.safetensors"};
    must_write(&f, BRG_FILE_GGUF, BRG_WEIGHT_BF16, in(&f, "m.gguf"));
    must_write(&f, BRG_FILE_LLAMA2C, BRG_WEIGHT_F32, in(&f, "m.bin"));
    must_write(&f, BRG_FILE_HF, BRG_WEIGHT_BF16, in(&f, "hf"));
    for (uint32_t i = 0; i < 3; i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "%s", in(&f, names[i]));
        assert_int_equal(brg_file_map_open(path, UINT64_MAX, &map), BRG_OK);
        for (size_t cut = 0; cut < map.size_bytes; cut += map.size_bytes / 40 + 1) {
            struct brg_import *m = NULL;
            assert_int_equal(brg_file_write_atomic(path, 0644, map.data, cut), BRG_OK);
            why.text[0] = '\0';
            assert_int_not_equal(brg_import_open(i == 2 ? in(&f, "hf") : path, &m, &why), BRG_OK);
            assert_null(m);
            assert_true(why.text[0] != '\0');
        }
        brg_file_map_close(&map);
    }
    fixture_drop(&f);
}

static void import_of_a_damaged_number__is_named(void **state) {
    (void)state;
    struct fixture f = fixture_new(1);
    struct brg_import *m = NULL;
    struct brg_file_map map;
    must_write(&f, BRG_FILE_LLAMA2C, BRG_WEIGHT_F32, in(&f, "m.bin"));
    assert_int_equal(brg_file_map_open(in(&f, "m.bin"), UINT64_MAX, &map), BRG_OK);
    uint8_t *bytes = malloc(map.size_bytes);
    assert_non_null(bytes);
    memcpy(bytes, map.data, map.size_bytes);
    memset(bytes + 28, 0xff, 4); /* NaN */
    assert_int_equal(brg_file_write_atomic(in(&f, "m.bin"), 0644, bytes, map.size_bytes), BRG_OK);
    assert_int_equal(brg_import_open(in(&f, "m.bin"), &m, &why), BRG_OK);
    assert_int_equal(brg_import_load(m, f.params, &why), BRG_ECORRUPT);
    assert_non_null(strstr(why.text, "model.embed_tokens.weight"));
    brg_import_close(m);
    free(bytes);
    brg_file_map_close(&map);
    fixture_drop(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(export_f32__comes_back_with_the_same_bits),
        cmocka_unit_test(export_of_an_import__is_the_same_file),
        cmocka_unit_test(export_rotary_rows__stand_as_each_format_wants_them),
        cmocka_unit_test(export_gguf__every_byte_has_a_meaning),
        cmocka_unit_test(export_hf__every_byte_of_the_weights_has_a_meaning),
        cmocka_unit_test(export_that_cannot_be__leaves_nothing_and_says_why),
        cmocka_unit_test(import_of_a_cut_file__is_refused),
        cmocka_unit_test(import_of_a_damaged_number__is_named),
    };
    return cmocka_run_group_tests_name("export", tests, NULL, NULL) != 0;
}
