#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/prepare.h"
#include "model/prepare_json.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static struct brg_data_error error;

struct fixture {
    char dir[48];
};

/* DIR/name, valid for the next seven calls. */
static const char *in(const struct fixture *f, const char *name) {
    static char paths[8][256];
    static uint32_t used;
    char *p = paths[used++ % 8];
    (void)snprintf(p, sizeof paths[0], "%s/%s", f->dir, name);
    return p;
}

static void put(struct fixture *f, const char *name, const void *data, size_t size) {
    assert_int_equal(brg_file_write_atomic(in(f, name), 0600, data, size), BRG_OK);
}

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    if (f == NULL) return -1;
    strcpy(f->dir, "/tmp/brg_test_prepare_XXXXXX");
    if (mkdtemp(f->dir) == NULL) return -1;
    *state = f;
    return 0;
}

static int remove_tree(const char *path) {
    char inner[1024];
    DIR *d = opendir(path);
    if (d == NULL) return unlink(path);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        (void)snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        if (unlink(inner) != 0) (void)remove_tree(inner);
    }
    (void)closedir(d);
    return rmdir(path);
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    const int rc = remove_tree(f->dir);
    free(f);
    return rc;
}

static void assert_says(const char *what) {
    if (strstr(error.text, what) == NULL) fail_msg("'%s' is not in '%s'", what, error.text);
}

static void assert_file_says(const char *path, const char *what) {
    uint8_t *text = NULL;
    size_t size = 0;
    assert_int_equal(brg_file_read(path, 1 << 20, &text, &size), BRG_OK);
    if (strstr((char *)text, what) == NULL) fail_msg("'%s' is not in:\n%s", what, (char *)text);
    free(text);
}

static void prepare_text__gives_shards_with_the_digest_of_the_text(void **state) {
    struct fixture *f = *state;
    static char text[20000]; /* more than is converted at a time */
    struct brg_prepare_report r;
    struct brg_data plain, shards;
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i * 7 % 251);
    put(f, "a.txt", text, sizeof text);
    const char *inputs[] = {in(f, "a.txt")};
    const struct brg_prepare_texts t = {inputs, 1, in(f, "new/sub/a"), 0.05};
    if (brg_prepare_shards(&t, &r, &error) != BRG_OK) fail_msg("%s", error.text);
    assert_int_equal(r.train_count, 19000);
    assert_int_equal(r.held_count, 1000);
    assert_int_equal(r.sources, 1);
    assert_int_equal(r.bytes, 2 * 1024 + 2 * 20000);
    assert_string_equal(r.train, in(f, "new/sub/a_train.bin"));
    assert_string_equal(r.held, in(f, "new/sub/a_val.bin"));

    struct brg_data_spec spec = {.format = BRG_DATA_TEXT, .held_out = 0.05};
    (void)snprintf(spec.train, sizeof spec.train, "%s", inputs[0]);
    assert_int_equal(brg_data_open(&spec, &plain, &error), BRG_OK);
    spec.format = BRG_DATA_SHARD;
    memcpy(spec.train, r.train, sizeof spec.train);
    memcpy(spec.test, r.held, sizeof spec.test);
    assert_int_equal(brg_data_open(&spec, &shards, &error), BRG_OK);
    assert_true(brg_digest_equal(&plain.digest, &shards.digest));
    assert_true(brg_digest_equal(&plain.digest, &r.digest));
    for (size_t i = 0; i < 19000; i++) {
        assert_int_equal(shards.train.values[2 * i], plain.train.values[i]);
        assert_int_equal(shards.train.values[2 * i + 1], 0);
    }
    brg_data_close(&plain);
    brg_data_close(&shards);

    char hex[BRG_DIGEST_HEX_BYTES], line[128];
    (void)snprintf(line, sizeof line, "\"digest\": \"%s\"", brg_digest_hex(&r.digest, hex));
    assert_file_says(r.manifest, line);
    assert_file_says(r.manifest, "\"train\": 19000,\n  \"held_out\": 1000,");
    assert_file_says(r.manifest,
                     "{\"path\": \"a_val.bin\", \"role\": \"held_out\", \"bytes\": 3024,");
}

static void prepare_folder__joins_texts_in_order_with_line_ends(void **state) {
    struct fixture *f = *state;
    struct brg_prepare_report r;
    struct brg_data d;
    uint8_t gz[128];
    z_stream z;
    assert_int_equal(brg_dir_make(in(f, "texts/b"), 0700), BRG_OK);
    put(f, "texts/c.txt", "third\n", 6);
    put(f, "texts/a.txt", "first", 5);
    put(f, "texts/empty.txt", "", 0);
    put(f, "texts/.hidden.txt", "no", 2);
    put(f, "texts/picture.dat", "no", 2);
    memset(&z, 0, sizeof z);
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t) "second";
    z.avail_in = 6;
    z.next_out = gz;
    z.avail_out = sizeof gz;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    put(f, "texts/b/x.txt.gz", gz, z.total_out);
    assert_int_equal(deflateEnd(&z), Z_OK);
    put(f, "last", "last", 4);

    const char *inputs[] = {in(f, "texts"), in(f, "last")};
    const struct brg_prepare_texts t = {inputs, 2, in(f, "all"), 0};
    if (brg_prepare_shards(&t, &r, &error) != BRG_OK) fail_msg("%s", error.text);
    assert_int_equal(r.sources, 5);
    assert_int_equal(r.held_count, 0);
    assert_string_equal(r.held, "");
    assert_int_equal(access(in(f, "all_val.bin"), F_OK), -1);
    struct brg_data_spec spec = {.format = BRG_DATA_SHARD};
    memcpy(spec.train, r.train, sizeof spec.train);
    assert_int_equal(brg_data_open(&spec, &d, &error), BRG_OK);
    static const char want[] = "first\nsecond\nthird\nlast";
    assert_int_equal(d.train.count, sizeof want - 1);
    for (size_t i = 0; i < sizeof want - 1; i++) assert_int_equal(d.train.values[2 * i], want[i]);
    brg_data_close(&d);
}

static void prepare_shards_of_nothing__is_refused(void **state) {
    struct fixture *f = *state;
    struct brg_prepare_report r;
    const char *inputs[] = {in(f, "none.txt")};
    struct brg_prepare_texts t = {inputs, 1, in(f, "out"), 0.05};
    assert_int_equal(brg_prepare_shards(&t, &r, &error), BRG_ENOENT);
    assert_says("none.txt: cannot be read (No such file or directory)");
    assert_int_equal(brg_dir_make(in(f, "empty"), 0700), BRG_OK);
    inputs[0] = in(f, "empty");
    assert_int_equal(brg_prepare_shards(&t, &r, &error), BRG_ENOENT);
    assert_says("holds no *.txt");
    put(f, "empty/a.txt", "", 0);
    assert_int_equal(brg_prepare_shards(&t, &r, &error), BRG_EINVAL);
    assert_says("no text in it");
    put(f, "empty/a.txt", "short", 5);
    assert_int_equal(brg_prepare_shards(&t, &r, &error), BRG_EINVAL);
    assert_says("less than one");
    t.held_out = 0.6;
    assert_int_equal(brg_prepare_shards(&t, &r, &error), BRG_EINVAL);
    assert_says("between 0 and 0.5");
    t.held_out = 0;
    t.input_count = 0;
    assert_int_equal(brg_prepare_shards(&t, &r, &error), BRG_EINVAL);
    assert_says("no text is given");
    char prefix[BRG_PATH_BYTES];
    memset(prefix, 'a', sizeof prefix);
    prefix[sizeof prefix - 4] = '\0';
    t.input_count = 1;
    t.prefix = prefix;
    assert_int_equal(brg_prepare_shards(&t, &r, &error), BRG_EINVAL);
    assert_says("over 511 bytes");
    t.prefix = in(f, "empty/a.txt/x");
    assert_int_equal(brg_prepare_shards(&t, &r, &error), BRG_EEXIST);
    assert_says("cannot be written");
}

static void prepare_folders_in_a_circle__are_refused(void **state) {
    struct fixture *f = *state;
    struct brg_prepare_report r;
    assert_int_equal(brg_dir_make(in(f, "loop"), 0700), BRG_OK);
    assert_int_equal(symlink(".", in(f, "loop/again")), 0);
    const char *inputs[] = {in(f, "loop")};
    const struct brg_prepare_texts t = {inputs, 1, in(f, "out"), 0};
    assert_int_equal(brg_prepare_shards(&t, &r, &error), BRG_EINVAL);
    assert_says("nested over 16 deep");
}

/* A size limit stands for the full disk. */
static void prepare_on_a_full_disk__says_so_and_leaves_no_manifest(void **state) {
    struct fixture *f = *state;
    static char text[20000];
    struct brg_prepare_report r;
    struct rlimit old, tight;
    memset(text, 'x', sizeof text);
    put(f, "a.txt", text, sizeof text);
    const char *inputs[] = {in(f, "a.txt")};
    const struct brg_prepare_texts t = {inputs, 1, in(f, "out"), 0.1};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = old;
    tight.rlim_cur = 30000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    const int rc = brg_prepare_shards(&t, &r, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, BRG_ENOSPC);
    assert_says("free some space");
    assert_int_equal(access(in(f, "out.json"), F_OK), -1);
    assert_int_equal(access(in(f, "out_train.bin"), F_OK), -1);
    int entries = 0;
    DIR *d = opendir(f->dir);
    assert_non_null(d);
    while (readdir(d) != NULL) entries++;
    (void)closedir(d);
    assert_int_equal(entries, 3); /* ".", ".." and a.txt: nothing half-written stays */
}

static void prepare_csv__gives_a_packed_file_that_opens_to_the_same_digest(void **state) {
    struct fixture *f = *state;
    struct brg_prepare_report r;
    struct brg_data a, b;
    static const char text[] = "x,y,class\n1,2,0\n3,4,1\n5,6,0\n7,8,1\n";
    put(f, "a.csv", text, sizeof text - 1);
    struct brg_data_spec spec = {.format = BRG_DATA_CSV, .held_out = 0.5};
    (void)snprintf(spec.train, sizeof spec.train, "%s", in(f, "a.csv"));
    if (brg_prepare_packed(&spec, in(f, "d/a.brgdata"), &r, &error) != BRG_OK)
        fail_msg("%s", error.text);
    assert_int_equal(r.train_count, 2);
    assert_int_equal(r.bytes, 128 + 32 + 16);
    assert_int_equal(brg_data_open(&spec, &a, &error), BRG_OK);
    memcpy(spec.train, r.train, sizeof spec.train);
    assert_int_equal(brg_data_open(&spec, &b, &error), BRG_OK);
    assert_true(brg_digest_equal(&a.digest, &b.digest));
    assert_true(brg_digest_equal(&a.digest, &r.digest));
    brg_data_close(&a);
    brg_data_close(&b);
    assert_file_says(r.manifest, "\"kind\": \"rows\",\n  \"inputs\": 2,\n  \"classes\": 2,");
    assert_file_says(r.manifest, "\"role\": \"packed\", \"bytes\": 176,");
    memset(spec.train, 0, sizeof spec.train);
    assert_int_equal(brg_prepare_packed(&spec, in(f, "b"), &r, &error), BRG_EINVAL);
    assert_says("data.train");
}

static void json_string__escapes_what_has_to_be(void **state) {
    (void)state;
    static const struct {
        const char *text, *json;
    } cases[] = {
        {"plain", "\"plain\""},
        {"a\"b\\c", "\"a\\\"b\\\\c\""},
        {"a\nb\001\177", "\"a\\u000ab\\u0001\\u007f\""},
        {"\303\251 \342\202\254 \360\237\230\200", "\"\303\251 \342\202\254 \360\237\230\200\""},
        {"\351x", "\"\\ufffdx\""},                     /* Latin-1 */
        {"\303", "\"\\ufffd\""},                       /* cut off at the closing NUL */
        {"\300\257", "\"\\ufffd\\ufffd\""},            /* longer than needed */
        {"\355\240\200", "\"\\ufffd\\ufffd\\ufffd\""}, /* a surrogate */
        {"\364\220\200\200", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        assert_non_null(out);
        brg_prepare_json_string(out, cases[i].text);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, cases[i].json);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(prepare_text__gives_shards_with_the_digest_of_the_text),
        T(prepare_folder__joins_texts_in_order_with_line_ends),
        T(prepare_shards_of_nothing__is_refused),
        T(prepare_folders_in_a_circle__are_refused),
        T(prepare_on_a_full_disk__says_so_and_leaves_no_manifest),
        T(prepare_csv__gives_a_packed_file_that_opens_to_the_same_digest),
        T(json_string__escapes_what_has_to_be),
#undef T
    };
    return cmocka_run_group_tests_name("prepare", tests, NULL, NULL) != 0;
}
