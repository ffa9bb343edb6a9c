#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/data.h"
#include "model/data_parse.h"

#include <math.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define EXPANDED_MAX (UINT64_C(1) << 20)

static struct brg_data_error error;

static struct brg_data_bytes bytes(const void *data, size_t size_bytes) {
    return (struct brg_data_bytes){.name = "file", .data = data, .size_bytes = size_bytes};
}

static int open_train(uint32_t format, double held_out, const void *data, size_t size_bytes,
                      struct brg_data *d) {
    const struct brg_data_spec spec = {.format = format, .held_out = held_out};
    const struct brg_data_files f = {.train = bytes(data, size_bytes)};
    return brg_data_open_memory(&spec, &f, EXPANDED_MAX, d, &error);
}

static int open_csv(const char *text, double held_out, struct brg_data *d) {
    return open_train(BRG_DATA_CSV, held_out, text, strlen(text), d);
}

static float value(const struct brg_data_part *part, size_t i) {
    float v;
    memcpy(&v, part->values + 4 * i, sizeof v);
    return v;
}

static uint32_t label(const struct brg_data_part *part, size_t i) {
    return brg_data_load_u32(part->labels + 4 * i);
}

/* The sentence names the file, the fault, and more than that. */
static void assert_says(const char *what) {
    if (strstr(error.text, what) == NULL) fail_msg("'%s' is not in '%s'", what, error.text);
    assert_true(strlen(error.text) > strlen(what) + 8);
}

static void gz(const void *data, size_t n, uint8_t *out, size_t *out_size) {
    z_stream z;
    memset(&z, 0, sizeof z);
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)*out_size;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    *out_size = z.total_out;
    assert_int_equal(deflateEnd(&z), Z_OK);
}

/* ---- text ---- */

static void data_text__is_split_at_the_end_without_copying(void **state) {
    (void)state;
    static const char text[] = "abcdefghijklmnopqrst"; /* 20 bytes */
    struct brg_data d;
    assert_int_equal(open_train(BRG_DATA_TEXT, 0.125, text, 20, &d), BRG_OK);
    assert_int_equal(d.kind, BRG_DATA_TOKENS);
    assert_int_equal(d.train.count, 18); /* 2.5 held out: two */
    assert_int_equal(d.held.count, 2);
    assert_ptr_equal(d.train.values, text);
    assert_memory_equal(d.held.values, "st", 2);
    assert_int_equal(d.token_max, 't');
    brg_data_close(&d);
    brg_data_close(&d);
    assert_int_equal(open_train(BRG_DATA_TEXT, 0, text, 20, &d), BRG_OK);
    assert_int_equal(d.train.count, 20);
    assert_int_equal(d.held.count, 0);
    brg_data_close(&d);
}

static void data_text_gzip__is_unpacked_and_has_the_digest_of_the_plain_text(void **state) {
    (void)state;
    static const char text[] = "in the beginning was the word, and the word was plain";
    uint8_t packed[512];
    size_t n = 200, m = 200;
    struct brg_data a, b;
    gz(text, 20, packed, &n); /* two members, as cat a.gz b.gz makes */
    gz(text + 20, sizeof text - 21, packed + n, &m);
    assert_int_equal(open_train(BRG_DATA_TEXT, 0.1, text, sizeof text - 1, &a), BRG_OK);
    assert_int_equal(open_train(BRG_DATA_TEXT, 0.1, packed, n + m, &b), BRG_OK);
    assert_int_equal(b.train.count, a.train.count);
    assert_true(brg_digest_equal(&a.digest, &b.digest));
    brg_data_close(&a);
    brg_data_close(&b);
}

static void data_gzip_cut_off__is_refused_at_every_length(void **state) {
    (void)state;
    static const char text[] = "in the beginning was the word, and the word was compressed";
    uint8_t packed[200];
    size_t n = sizeof packed;
    struct brg_data d;
    gz(text, sizeof text, packed, &n);
    for (size_t cut = 2; cut < n; cut++) {
        assert_int_equal(open_train(BRG_DATA_TEXT, 0, packed, cut, &d), BRG_ECORRUPT);
        assert_says("gzip data is cut off or damaged");
    }
    packed[n - 1] ^= 1; /* the length at the end */
    assert_int_equal(open_train(BRG_DATA_TEXT, 0, packed, n, &d), BRG_ECORRUPT);
}

static void data_gzip_bomb__stops_at_the_limit(void **state) {
    (void)state;
    static uint8_t zeroes[1 << 21];
    static uint8_t packed[1 << 16];
    size_t n = sizeof packed;
    struct brg_data d;
    gz(zeroes, sizeof zeroes, packed, &n);
    assert_int_equal(open_train(BRG_DATA_TEXT, 0, packed, n, &d), BRG_ENOMEM);
    assert_says("unpacks to more than 1048576 bytes");
}

static void data_spec__that_contradicts_itself_is_refused(void **state) {
    (void)state;
    struct brg_data d;
    static const double bad[] = {-0.1, 0.51, 1e300, NAN, INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(open_train(BRG_DATA_TEXT, bad[i], "abcd", 4, &d), BRG_EINVAL);
        assert_says("between 0 and 0.5");
    }
    assert_int_equal(open_train(BRG_DATA_TEXT, 0.05, "abcd", 4, &d), BRG_EINVAL);
    assert_says("less than one");
    assert_int_equal(open_train(BRG_DATA_TEXT, 0, "", 0, &d), BRG_ECORRUPT);
    assert_says("empty");
    assert_int_equal(open_train(9, 0, "abcd", 4, &d), BRG_EINVAL);
    assert_says("format 9");
    assert_int_equal(open_train(BRG_DATA_TEXT, 0, NULL, 0, &d), BRG_EINVAL);
    assert_says("data.train");
    assert_int_equal(open_train(BRG_DATA_IDX, 0, "abcd", 4, &d), BRG_EINVAL);
    assert_says("data.train_labels");
    const struct brg_data_spec spec = {.format = BRG_DATA_TEXT};
    const struct brg_data_files f = {.train = bytes("a", 1), .train_labels = bytes("b", 1)};
    assert_int_equal(brg_data_open_memory(&spec, &f, EXPANDED_MAX, &d, &error), BRG_EINVAL);
    assert_says("IDX images only");
}

/* ---- shards ---- */

static size_t make_shard(uint32_t magic, uint32_t version, uint32_t tokens, uint8_t *out) {
    memset(out, 0, 1024);
    memcpy(out, &magic, 4);
    memcpy(out + 4, &version, 4);
    memcpy(out + 8, &tokens, 4);
    for (uint32_t i = 0; i < tokens; i++) {
        const uint16_t token = (uint16_t)(i % 200);
        memcpy(out + 1024 + 2 * i, &token, 2);
    }
    return 1024 + 2 * (size_t)tokens;
}

static void data_shard__with_and_without_header_and_text_have_one_digest(void **state) {
    (void)state;
    uint8_t shard[2048], text[40];
    struct brg_data a, b, c;
    const size_t n = make_shard(20240520, 1, 40, shard);
    for (uint8_t i = 0; i < 40; i++) text[i] = i;
    assert_int_equal(open_train(BRG_DATA_SHARD, 0.25, shard, n, &a), BRG_OK);
    assert_int_equal(open_train(BRG_DATA_SHARD, 0.25, shard + 1024, 80, &b), BRG_OK);
    assert_int_equal(open_train(BRG_DATA_TEXT, 0.25, text, 40, &c), BRG_OK);
    assert_int_equal(a.train.count, 30);
    assert_int_equal(a.held.count, 10);
    assert_int_equal(a.element, BRG_DATA_U16);
    assert_int_equal(a.token_max, 39);
    assert_true(brg_digest_equal(&a.digest, &b.digest));
    assert_true(brg_digest_equal(&a.digest, &c.digest));
    assert_int_equal(brg_data_pack_bytes(&a), 128 + 40);
    text[7] ^= 1;
    brg_data_close(&c);
    assert_int_equal(open_train(BRG_DATA_TEXT, 0.25, text, 40, &c), BRG_OK);
    assert_false(brg_digest_equal(&a.digest, &c.digest));
    brg_data_close(&c);
    text[7] ^= 1; /* the split is part of the meaning */
    assert_int_equal(open_train(BRG_DATA_TEXT, 0.2, text, 40, &c), BRG_OK);
    assert_false(brg_digest_equal(&a.digest, &c.digest));
    brg_data_close(&a);
    brg_data_close(&b);
    brg_data_close(&c);
}

static void data_shard_cut_off__is_refused_at_every_length(void **state) {
    (void)state;
    uint8_t shard[2048];
    struct brg_data d;
    const size_t n = make_shard(20240520, 1, 40, shard);
    for (size_t cut = 4; cut < n; cut++)
        assert_int_equal(open_train(BRG_DATA_SHARD, 0, shard, cut, &d), BRG_ECORRUPT);
    assert_says("it was cut off or is damaged");
    assert_int_equal(open_train(BRG_DATA_SHARD, 0, shard, n + 2, &d), BRG_ECORRUPT);
    assert_int_equal(open_train(BRG_DATA_SHARD, 0, shard + 1024, 79, &d), BRG_ECORRUPT);
    assert_says("odd");
    assert_int_equal(open_train(BRG_DATA_SHARD, 0, shard, 0, &d), BRG_ECORRUPT);
    assert_says("empty");
}

static void data_shard_of_another_kind__is_named(void **state) {
    (void)state;
    uint8_t shard[2048];
    struct brg_data d;
    size_t n = make_shard(20240801, 7, 40, shard);
    assert_int_equal(open_train(BRG_DATA_SHARD, 0, shard, n, &d), BRG_ECORRUPT);
    assert_says("32-bit tokens");
    n = make_shard(20240522, 1, 40, shard);
    assert_int_equal(open_train(BRG_DATA_SHARD, 0, shard, n, &d), BRG_ECORRUPT);
    assert_says("evaluation file");
    n = make_shard(20240520, 2, 40, shard);
    assert_int_equal(open_train(BRG_DATA_SHARD, 0, shard, n, &d), BRG_ECORRUPT);
    assert_says("version 2");
    (void)make_shard(20240520, 1, 0, shard);
    assert_int_equal(open_train(BRG_DATA_SHARD, 0, shard, 1024, &d), BRG_ECORRUPT);
    assert_says("0 tokens");
    const uint32_t negative = UINT32_MAX;
    memcpy(shard + 8, &negative, 4);
    assert_int_equal(open_train(BRG_DATA_SHARD, 0, shard, 1024, &d), BRG_ECORRUPT);
    assert_says("-1 tokens");
}

/* ---- IDX ---- */

#define IMAGES 6u

static size_t make_images(uint8_t *out) {
    static const uint8_t header[16] = {0, 0, 8, 3, 0, 0, 0, IMAGES, 0, 0, 0, 2, 0, 0, 0, 3};
    memcpy(out, header, sizeof header);
    for (uint8_t i = 0; i < IMAGES * 6; i++) out[16 + i] = i;
    return 16 + IMAGES * 6;
}

static size_t make_labels(uint8_t *out) {
    static const uint8_t all[8 + IMAGES] = {0, 0, 8, 1, 0, 0, 0, IMAGES, 0, 1, 2, 0, 1, 2};
    memcpy(out, all, sizeof all);
    return sizeof all;
}

static int open_idx(const uint8_t *x, size_t xn, const uint8_t *y, size_t yn, struct brg_data *d) {
    const struct brg_data_spec spec = {.format = BRG_DATA_IDX, .held_out = 0.34};
    const struct brg_data_files f = {.train = bytes(x, xn), .train_labels = bytes(y, yn)};
    return brg_data_open_memory(&spec, &f, EXPANDED_MAX, d, &error);
}

static void data_idx__gives_rows_and_labels_plain_or_gzip(void **state) {
    (void)state;
    uint8_t x[64], y[32], xz[128], yz[128];
    size_t xzn = sizeof xz, yzn = sizeof yz;
    const size_t xn = make_images(x), yn = make_labels(y);
    struct brg_data a, b;
    gz(x, xn, xz, &xzn);
    gz(y, yn, yz, &yzn);
    assert_int_equal(open_idx(x, xn, y, yn, &a), BRG_OK);
    assert_int_equal(open_idx(xz, xzn, yz, yzn, &b), BRG_OK);
    assert_int_equal(a.kind, BRG_DATA_ROWS);
    assert_int_equal(a.element, BRG_DATA_U8);
    assert_int_equal(a.inputs, 6);
    assert_int_equal(a.classes, 3);
    assert_int_equal(a.train.count, 4);
    assert_int_equal(a.held.count, 2);
    assert_int_equal(a.held.values[0], 24);
    assert_int_equal(label(&a.held, 1), 2);
    assert_true(brg_digest_equal(&a.digest, &b.digest));
    brg_data_close(&a);
    brg_data_close(&b);
}

static void data_idx_cut_off__is_refused_at_every_length(void **state) {
    (void)state;
    uint8_t x[64], y[32];
    const size_t xn = make_images(x), yn = make_labels(y);
    struct brg_data d;
    for (size_t cut = 0; cut < xn; cut++)
        assert_int_equal(open_idx(x, cut, y, yn, &d), BRG_ECORRUPT);
    assert_says("6 images");
    for (size_t cut = 0; cut < yn; cut++)
        assert_int_equal(open_idx(x, xn, y, cut, &d), BRG_ECORRUPT);
    assert_says("6 labels");
}

static void data_idx_header_with_flipped_bits__is_refused(void **state) {
    (void)state;
    uint8_t x[64], y[32];
    const size_t xn = make_images(x), yn = make_labels(y);
    struct brg_data d;
    for (size_t bit = 0; bit < 16 * 8; bit++) {
        x[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(open_idx(x, xn, y, yn, &d), BRG_ECORRUPT);
        x[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    x[2] = 0x0D;
    assert_int_equal(open_idx(x, xn, y, yn, &d), BRG_ECORRUPT);
    assert_says("32-bit floats");
    assert_int_equal(open_idx(y, yn, y, yn, &d), BRG_ECORRUPT);
    assert_says("swapped");
    x[2] = 8;
    memset(x + 4, 0xff, 12); /* the product of the dimensions would wrap */
    assert_int_equal(open_idx(x, xn, y, yn, &d), BRG_ECORRUPT);
    assert_says("header is damaged");
    (void)make_images(x);
    y[7] = 5;
    assert_int_equal(open_idx(x, xn, y, yn - 1, &d), BRG_ECORRUPT);
    assert_says("5 labels, but 6 images");
}

/* ---- CSV ---- */

static void data_csv__is_scaled_by_the_train_part_alone(void **state) {
    (void)state;
    struct brg_data d;
    assert_int_equal(open_csv("1,0,-2,0\n2,0,1,1\n-4,0,1,0\n8,3,1,1\n", 0.25, &d), BRG_OK);
    assert_int_equal(d.inputs, 3);
    assert_int_equal(d.classes, 2);
    assert_int_equal(d.train.count, 3);
    static const float want[9] = {0.25f, 0, -1, 0.5f, 0, 0.5f, -1, 0, 0.5f};
    for (size_t i = 0; i < 9; i++) assert_float_equal(value(&d.train, i), want[i], 0);
    assert_float_equal(value(&d.held, 0), 2, 0); /* outside: not looked at for the scale */
    assert_float_equal(value(&d.held, 1), 3, 0); /* a column of zeroes divides by 1 */
    assert_int_equal(label(&d.held, 0), 1);
    brg_data_close(&d);
}

static void data_csv_separate_test_file__is_scaled_like_the_train_file(void **state) {
    (void)state;
    const struct brg_data_spec spec = {.format = BRG_DATA_CSV, .held_out = 0.5};
    const char *train = "x,y,class\n4,1,0\n2,2,1\n", *test = "2,1,1\n", *wide = "2,1,3,1\n";
    struct brg_data_files f = {.train = bytes(train, strlen(train)),
                               .test = bytes(test, strlen(test))};
    struct brg_data d;
    assert_int_equal(brg_data_open_memory(&spec, &f, EXPANDED_MAX, &d, &error), BRG_OK);
    assert_int_equal(d.train.count, 2); /* held_out is for a single file */
    assert_int_equal(d.held.count, 1);
    assert_float_equal(value(&d.held, 0), 0.5, 0);
    brg_data_close(&d);
    f.test = bytes(wide, strlen(wide));
    assert_int_equal(brg_data_open_memory(&spec, &f, EXPANDED_MAX, &d, &error), BRG_EINVAL);
    assert_says("3 features");
}

static void data_csv__takes_headings_line_ends_blanks_and_a_byte_order_mark(void **state) {
    (void)state;
    static const char *same[] = {
        "1,2,0\n3,4,1\n",
        "1,2,0\r\n3,4,1",
        "\357\273\2771,2,0\n3,4,1\n",
        "\357\273\277a,b,class\n1,2,0\n\n  3 ,\t4 , 1.0 \n\n",
        "2,2,setosa,versicolor\n1,2,0\n3,4,1\n",
        "2,2,7,8\n1,2,0\n3,4,1\n", /* announced, with numbers for class names */
        "\"sepal, cm\",\"b\",class\n1,2,0\n3e0,.4e1,1\n",
        "0,1,target\n1,2,0\n+3,4.0,1\n",
    };
    struct brg_data first;
    assert_int_equal(open_csv(same[0], 0, &first), BRG_OK);
    for (size_t i = 1; i < sizeof same / sizeof same[0]; i++) {
        struct brg_data d;
        const int rc = open_csv(same[i], 0, &d);
        if (rc != BRG_OK) fail_msg("case %zu: %s", i, error.text);
        assert_true(brg_digest_equal(&d.digest, &first.digest));
        brg_data_close(&d);
    }
    brg_data_close(&first);
}

static void data_csv_fault__is_named_with_its_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
        int rc;
    } cases[] = {
        {"", "no rows", BRG_ECORRUPT},
        {"\n \n\n", "no rows", BRG_ECORRUPT},
        {"a,b,class\n", "heading but no rows", BRG_ECORRUPT},
        {"1\n2\n", "line 1 has 1 columns", BRG_ECORRUPT},
        {"1,2,0\n1,x,0\n", "line 2, column 2: 'x' is no finite", BRG_ECORRUPT},
        {"1,2,0\n\n1,nan,0\n", "line 3, column 2: 'nan' is no finite", BRG_ECORRUPT},
        {"1,2,0\n-inf,2,0\n", "line 2, column 1: '-inf'", BRG_ECORRUPT},
        {"1,2,0\n1e999,2,0\n", "line 2, column 1: '1e999' is too large", BRG_ECORRUPT},
        {"1,2,0\n1e39,2,0\n", "too large", BRG_ECORRUPT},
        {"1,2,0\n0x10,2,0\n", "line 2, column 1", BRG_ECORRUPT},
        {"1,2,0\n1,,0\n", "line 2, column 2: '' is an empty field", BRG_ECORRUPT},
        {"1,2,0\n1,2\n", "line 2 has 2 columns, but the first row has 3", BRG_ECORRUPT},
        {"1,2,0\n1,2,3,0\n", "line 2 has 4 columns, but the first row has 3", BRG_ECORRUPT},
        {"1,2,0\n1,2,-1\n", "line 2, column 3: '-1' is no class", BRG_ECORRUPT},
        {"1,2,0\n1,2,1.5\n", "'1.5' is no class", BRG_ECORRUPT},
        {"1,2,0\n1,2,65536\n", "'65536' is no class", BRG_ECORRUPT},
        {"1,2,0\n1,2,setosa\n", "'setosa' is no class", BRG_ECORRUPT},
        {"3,2,setosa,versicolor\n1,2,0\n3,4,1\n", "announces 3 rows, but there are 2",
         BRG_ECORRUPT},
        {"2,3,setosa,versicolor\n1,2,0\n3,4,1\n", "announces 3 features", BRG_ECORRUPT},
        {"1,2,0\n1,2\001,0\n", "'2?'", BRG_ECORRUPT},
    };
    struct brg_data d;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(open_csv(cases[i].text, 0, &d), cases[i].rc);
        assert_says(cases[i].says);
        assert_int_equal(d.heap_count, 0);
    }
    assert_int_equal(open_csv("1,0\n1,0\n1,1\n1,2\n", 0.25, &d), BRG_EINVAL);
    assert_says("class 2, which no training row has");
    assert_int_equal(open_csv("1e-40,0\n1e38,0\n", 0.5, &d), BRG_ECORRUPT);
    assert_says("not finite once scaled");
}

static void data_csv_cut_off_inside_a_row__is_refused_or_shorter(void **state) {
    (void)state;
    static const char text[] = "10,20,0\n30,40,1\n";
    struct brg_data d;
    for (size_t cut = 0; cut < sizeof text - 1; cut++) {
        char *copy = malloc(cut > 0 ? cut : 1); /* so that a sanitizer sees a byte too far */
        assert_non_null(copy);
        memcpy(copy, text, cut);
        if (open_train(BRG_DATA_CSV, 0, copy, cut, &d) == BRG_OK) {
            assert_true(d.train.count <= 2);
            brg_data_close(&d);
        } else {
            assert_true(error.text[0] != '\0');
        }
        free(copy);
    }
}

/* ---- packed form ---- */

/* A small packed data set of rows; the caller frees it. */
static uint8_t *make_blob(size_t *size) {
    struct brg_data d;
    assert_int_equal(open_csv("1,2,0\n3,4,1\n5,6,0\n7,8,1\n", 0.5, &d), BRG_OK);
    *size = (size_t)brg_data_pack_bytes(&d);
    uint8_t *blob = malloc(*size);
    assert_non_null(blob);
    assert_int_equal(brg_data_pack(&d, blob, *size), BRG_OK);
    brg_data_close(&d);
    return blob;
}

/* Gives a blob that was tampered with the digest that its bytes make. */
static void forge_digest(uint8_t *blob, size_t size) {
    struct brg_hasher h;
    struct brg_digest digest;
    brg_hasher_init(&h);
    brg_hasher_update(&h, blob, 64);
    brg_hasher_update(&h, blob + 128, size - 128);
    brg_hasher_final(&h, &digest);
    memcpy(blob + 64, digest.bytes, 32);
}

static void data_blob__is_what_was_packed_without_a_copy(void **state) {
    (void)state;
    size_t size = 0;
    uint8_t *blob = make_blob(&size);
    struct brg_data a, b;
    assert_int_equal(open_csv("1,2,0\n3,4,1\n5,6,0\n7,8,1\n", 0.5, &a), BRG_OK);
    assert_int_equal(size, 128 + 4 * 2 * 4 + 4 * 4);
    assert_int_equal(brg_data_open_blob("b", blob, size, &b, &error), BRG_OK);
    assert_true(brg_digest_equal(&a.digest, &b.digest));
    assert_ptr_equal(b.train.values, blob + 128);
    assert_int_equal(b.train.count, 2);
    assert_int_equal(b.held.count, 2);
    assert_int_equal(b.classes, 2);
    assert_memory_equal(b.train.values, a.train.values, 16);
    assert_memory_equal(b.held.values, a.held.values, 16);
    assert_memory_equal(b.train.labels, a.train.labels, 8);
    assert_memory_equal(b.held.labels, a.held.labels, 8);
    brg_data_close(&a);
    brg_data_close(&b);
    free(blob);
}

static void data_blob_cut_off_or_longer__is_refused(void **state) {
    (void)state;
    size_t size = 0;
    uint8_t *blob = make_blob(&size);
    struct brg_data d;
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = malloc(cut > 0 ? cut : 1);
        assert_non_null(copy);
        memcpy(copy, blob, cut);
        assert_int_equal(brg_data_open_blob("b", copy, cut, &d, &error), BRG_ECORRUPT);
        free(copy);
    }
    uint8_t *longer = calloc(1, size + 1);
    assert_non_null(longer);
    memcpy(longer, blob, size);
    assert_int_equal(brg_data_open_blob("b", longer, size + 1, &d, &error), BRG_ECORRUPT);
    assert_says("length");
    free(longer);
    free(blob);
}

static void data_blob_with_any_bit_flipped__is_refused(void **state) {
    (void)state;
    size_t size = 0;
    uint8_t *blob = make_blob(&size);
    struct brg_data d;
    for (size_t bit = 0; bit < size * 8; bit++) {
        blob[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(brg_data_open_blob("b", blob, size, &d, &error), BRG_ECORRUPT);
        blob[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_int_equal(brg_data_open_blob("b", blob, size, &d, &error), BRG_OK);
    brg_data_close(&d);
    free(blob);
}

/* A liar can make a digest that fits: the meaning is checked all the same. */
static void data_blob_forged_with_a_fitting_digest__is_refused(void **state) {
    (void)state;
    size_t size = 0;
    struct brg_data d;
    static const struct {
        size_t at;
        uint32_t put;
        const char *says;
    } cases[] = {
        {8, 2, "version 2"},
        {12, 3, "kind"},
        {12, 1, "do not describe tokens"},
        {16, 2, "do not describe rows"},
        {16, 1, "length"},
        {20, 5, "do not describe rows"},
        {24, 0, "do not describe rows"},
        {24, 0xffffffffu, "do not describe rows"},
        {28, 0, "do not describe rows"},
        {28, 3, "largest token or label"},
        {28, 1, "largest token or label"},
        {32, 0, "a count"},
        {36, 0x00ffffffu, "a count"},
        {44, 0x7fffffffu, "a count"},
        {36, 0x000000ffu, "length"},
        {48, 1, "length"},
        {56, 1, "must be 0"},
        {100, 1, "must be 0"},
        {128, 0x7fc00000u, "not finite"},
        {128 + 32, 70000, "classes go from 0 to 65535"},
        {128 + 32 + 12, 2, "which no training row has"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t *blob = make_blob(&size);
        memcpy(blob + cases[i].at, &cases[i].put, 4);
        forge_digest(blob, size);
        assert_int_equal(brg_data_open_blob("b", blob, size, &d, &error), BRG_ECORRUPT);
        assert_says(cases[i].says);
        free(blob);
    }
}

static void data_pack_of_changed_bytes__is_refused(void **state) {
    (void)state;
    char text[] = "some text that somebody overwrites";
    uint8_t out[256];
    struct brg_data d;
    assert_int_equal(open_train(BRG_DATA_TEXT, 0, text, sizeof text - 1, &d), BRG_OK);
    const size_t size = (size_t)brg_data_pack_bytes(&d);
    assert_int_equal(brg_data_pack(&d, out, size), BRG_OK);
    text[3] = 'X';
    assert_int_equal(brg_data_pack(&d, out, size), BRG_ECORRUPT);
    brg_data_close(&d);
}

/* ---- files ---- */

static void write_file(const char *path, const void *data, size_t size) {
    assert_int_equal(brg_file_write_atomic(path, 0600, data, size), BRG_OK);
}

static void data_files__are_opened_and_packed_files_are_known_by_their_magic(void **state) {
    (void)state;
    char dir[] = "/tmp/brg_test_data_XXXXXX", plain[64], packed[64];
    struct brg_data a, b;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(plain, sizeof plain, "%s/a.txt", dir);
    (void)snprintf(packed, sizeof packed, "%s/a.brgdata", dir);
    write_file(plain, "abcdefghij", 10);
    struct brg_data_spec spec = {.format = BRG_DATA_TEXT, .held_out = 0.2};
    memcpy(spec.train, plain, sizeof plain);
    assert_int_equal(brg_data_open(&spec, &a, &error), BRG_OK);
    assert_int_equal(brg_data_pack_file(&a, packed), BRG_OK);
    memcpy(spec.train, packed, sizeof packed);
    spec.held_out = 0; /* the packed form has its own split */
    assert_int_equal(brg_data_open(&spec, &b, &error), BRG_OK);
    assert_true(brg_digest_equal(&a.digest, &b.digest));
    assert_int_equal(b.held.count, 2);
    assert_memory_equal(b.held.values, "ij", 2);
    brg_data_close(&a);
    brg_data_close(&b);
    memcpy(spec.test, plain, sizeof plain);
    assert_int_equal(brg_data_open(&spec, &b, &error), BRG_EINVAL);
    assert_says("remove data.test");
    assert_int_equal(unlink(packed), 0);
    assert_int_equal(brg_data_open(&spec, &b, &error), BRG_ENOENT);
    assert_says("cannot be read (No such file or directory); check data.train");
    (void)snprintf(spec.train, sizeof spec.train, "%s", dir);
    assert_int_equal(brg_data_open(&spec, &b, &error), BRG_EINVAL);
    assert_says("Is a directory");
    memset(spec.train, 'a', sizeof spec.train);
    assert_int_equal(brg_data_open(&spec, &b, &error), BRG_EINVAL);
    memset(spec.train, 0, sizeof spec.train);
    assert_int_equal(brg_data_open(&spec, &b, &error), BRG_EINVAL);
    assert_says("set data.train");
    assert_int_equal(unlink(plain), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* ---- does a model fit ---- */

static void data_that_no_model_of_this_shape_reads__is_refused_with_a_proposal(void **state) {
    (void)state;
    struct brg_data text, rows;
    struct brg_model_spec llama = {.type = BRG_MODEL_LLAMA, .vocab = 256, .context = 8};
    struct brg_model_spec mlp = {.type = BRG_MODEL_MLP, .inputs = 1, .classes = 2};
    assert_int_equal(open_train(BRG_DATA_TEXT, 0.5, "abcdefghijklmnopqr", 18, &text), BRG_OK);
    assert_int_equal(open_csv("1,0\n2,1\n", 0, &rows), BRG_OK);
    assert_int_equal(brg_data_fits(&text, &llama, &error), BRG_OK);
    assert_int_equal(brg_data_fits(&rows, &mlp, &error), BRG_OK);
    assert_int_equal(brg_data_fits(&rows, &llama, &error), BRG_EINVAL);
    assert_says("llama needs tokens");
    assert_int_equal(brg_data_fits(&text, &mlp, &error), BRG_EINVAL);
    assert_says("classifier");
    llama.context = 9;
    assert_int_equal(brg_data_fits(&text, &llama, &error), BRG_EINVAL);
    assert_says("needs 10 tokens to train on, but there are 9");
    llama.context = UINT32_MAX;
    assert_int_equal(brg_data_fits(&text, &llama, &error), BRG_EINVAL);
    llama.context = 8;
    llama.vocab = 'r';
    assert_int_equal(brg_data_fits(&text, &llama, &error), BRG_EINVAL);
    assert_says("set model.vocab to 115");
    mlp.inputs = 2;
    assert_int_equal(brg_data_fits(&rows, &mlp, &error), BRG_EINVAL);
    assert_says("set model.inputs to 1");
    mlp.inputs = 1;
    mlp.classes = 1;
    assert_int_equal(brg_data_fits(&rows, &mlp, &error), BRG_EINVAL);
    assert_says("set model.classes to 2");
    brg_data_close(&text);
    assert_int_equal(open_train(BRG_DATA_TEXT, 0.1, "abcdefghijklmnopqrst", 20, &text), BRG_OK);
    llama.vocab = 256;
    assert_int_equal(brg_data_fits(&text, &llama, &error), BRG_EINVAL);
    assert_says("needs 9 held-out tokens, but there are 2");
    brg_data_close(&text);
    brg_data_close(&rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_text__is_split_at_the_end_without_copying),
        cmocka_unit_test(data_text_gzip__is_unpacked_and_has_the_digest_of_the_plain_text),
        cmocka_unit_test(data_gzip_cut_off__is_refused_at_every_length),
        cmocka_unit_test(data_gzip_bomb__stops_at_the_limit),
        cmocka_unit_test(data_spec__that_contradicts_itself_is_refused),
        cmocka_unit_test(data_shard__with_and_without_header_and_text_have_one_digest),
        cmocka_unit_test(data_shard_cut_off__is_refused_at_every_length),
        cmocka_unit_test(data_shard_of_another_kind__is_named),
        cmocka_unit_test(data_idx__gives_rows_and_labels_plain_or_gzip),
        cmocka_unit_test(data_idx_cut_off__is_refused_at_every_length),
        cmocka_unit_test(data_idx_header_with_flipped_bits__is_refused),
        cmocka_unit_test(data_csv__is_scaled_by_the_train_part_alone),
        cmocka_unit_test(data_csv_separate_test_file__is_scaled_like_the_train_file),
        cmocka_unit_test(data_csv__takes_headings_line_ends_blanks_and_a_byte_order_mark),
        cmocka_unit_test(data_csv_fault__is_named_with_its_place),
        cmocka_unit_test(data_csv_cut_off_inside_a_row__is_refused_or_shorter),
        cmocka_unit_test(data_blob__is_what_was_packed_without_a_copy),
        cmocka_unit_test(data_blob_cut_off_or_longer__is_refused),
        cmocka_unit_test(data_blob_with_any_bit_flipped__is_refused),
        cmocka_unit_test(data_blob_forged_with_a_fitting_digest__is_refused),
        cmocka_unit_test(data_pack_of_changed_bytes__is_refused),
        cmocka_unit_test(data_files__are_opened_and_packed_files_are_known_by_their_magic),
        cmocka_unit_test(data_that_no_model_of_this_shape_reads__is_refused_with_a_proposal),
    };
    return cmocka_run_group_tests_name("data", tests, NULL, NULL) != 0;
}
