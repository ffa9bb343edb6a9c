#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/keys.h"
#include "proto/token.h"

static char dir[] = "/tmp/brg-keys-XXXXXX", path[64], other[64];
static struct brg_why why;

static int group_setup(void **state) {
    (void)state;
    if (sodium_init() < 0 || mkdtemp(dir) == NULL) return -1;
    (void)snprintf(path, sizeof path, "%s/key", dir);
    (void)snprintf(other, sizeof other, "%s/link", dir);
    return 0;
}

static int group_teardown(void **state) {
    (void)state;
    (void)unlink(path);
    (void)unlink(other);
    return rmdir(dir);
}

static void write_file(const char *bytes, size_t size_bytes, mode_t mode) {
    (void)unlink(path);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size_bytes), size_bytes);
    assert_int_equal(close(fd), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* The bytes of a saved pair; the file is there afterwards. */
static void save_new(struct brg_keypair *pair, char *bytes) {
    (void)unlink(path);
    assert_int_equal(brg_keypair_create(pair, NULL), BRG_OK);
    assert_int_equal(brg_keyfile_save(path, pair, &why), BRG_OK);
    const int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, bytes, BRG_KEYFILE_BYTES), BRG_KEYFILE_BYTES);
    assert_int_equal(close(fd), 0);
}

static int load(struct brg_keypair *pair) {
    memset(pair, 0xa5, sizeof *pair);
    const int rc = brg_keyfile_load(path, pair, &why);
    if (rc != BRG_OK) assert_null(pair->secret);
    return rc;
}

static void keyfile_saved__is_private_and_comes_back(void **state) {
    (void)state;
    struct brg_keypair pair, back;
    char bytes[BRG_KEYFILE_BYTES];
    struct stat st;
    const mode_t before = umask(0);
    save_new(&pair, bytes);
    (void)umask(before);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, BRG_KEYFILE_BYTES);
    assert_memory_equal(bytes, "brigade-key-1\npublic ", 21);
    assert_int_equal(load(&back), BRG_OK);
    assert_true(brg_key_equal(&back.public_key, &pair.public_key));
    assert_memory_equal(back.secret, pair.secret, BRG_CURVE_KEY_BYTES);
    brg_keypair_wipe(&back);
    brg_keypair_wipe(&back); /* twice is once */

    assert_int_equal(brg_keyfile_save(path, &pair, &why), BRG_EEXIST);
    assert_non_null(strstr(why.text, "never overwritten"));
    assert_int_equal(brg_keyfile_save("/nonexistent/key", &pair, &why), BRG_ENOENT);
    brg_keypair_wipe(&pair);
}

static void keyfile_that_others_may_touch__is_refused(void **state) {
    (void)state;
    static const mode_t modes[] = {0640, 0604, 0620, 0601};
    struct brg_keypair pair, back;
    char bytes[BRG_KEYFILE_BYTES];
    save_new(&pair, bytes);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_int_equal(load(&back), BRG_EPERM);
        assert_non_null(strstr(why.text, "chmod 600"));
    }
    brg_keypair_wipe(&pair);
}

static void keyfile_that_is_a_link_or_no_file__is_refused(void **state) {
    (void)state;
    struct brg_keypair pair, back;
    char bytes[BRG_KEYFILE_BYTES];
    save_new(&pair, bytes);
    assert_int_equal(symlink(path, other), 0);
    assert_int_equal(brg_keyfile_load(other, &back, &why), BRG_EPERM);
    assert_int_equal(brg_keyfile_save(other, &pair, &why), BRG_EEXIST);
    assert_int_equal(brg_keyfile_load(dir, &back, &why), BRG_EPERM);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(mkfifo(other, 0600), 0);
    assert_int_equal(brg_keyfile_load(other, &back, &why), BRG_EPERM); /* and does not block */
    assert_int_equal(unlink(other), 0);
    assert_int_equal(brg_keyfile_load(other, &back, &why), BRG_ENOENT);
    brg_keypair_wipe(&pair);
}

static void keyfile_damaged__is_refused_wherever_it_is(void **state) {
    (void)state;
    struct brg_keypair pair, second, back;
    char bytes[BRG_KEYFILE_BYTES + 1], foreign[BRG_KEYFILE_BYTES];
    save_new(&second, foreign);
    save_new(&pair, bytes);
    bytes[BRG_KEYFILE_BYTES] = 'x';
    write_file(bytes, BRG_KEYFILE_BYTES + 1, 0600);
    assert_int_equal(load(&back), BRG_ECORRUPT);
    write_file(bytes, BRG_KEYFILE_BYTES - 1, 0600);
    assert_int_equal(load(&back), BRG_ECORRUPT);
    write_file("", 0, 0600);
    assert_int_equal(load(&back), BRG_ECORRUPT);
    for (size_t i = 0; i < BRG_KEYFILE_BYTES; i++) {
        const char good = bytes[i];
        bytes[i] = good == '0' ? '1' : '0';
        write_file(bytes, BRG_KEYFILE_BYTES, 0600);
        assert_int_equal(load(&back), BRG_ECORRUPT);
        bytes[i] = good;
    }
    memcpy(bytes + 21, foreign + 21, 40); /* the public half of another pair */
    write_file(bytes, BRG_KEYFILE_BYTES, 0600);
    assert_int_equal(load(&back), BRG_ECORRUPT);
    assert_non_null(strstr(why.text, "brigade keygen"));
    brg_keypair_wipe(&pair);
    brg_keypair_wipe(&second);
}

static void keyfile_ensure__makes_one_and_then_finds_it(void **state) {
    (void)state;
    struct brg_keypair first, again;
    int created = 7;
    (void)unlink(path);
    assert_int_equal(brg_keyfile_ensure(path, &first, &created, &why), BRG_OK);
    assert_int_equal(created, 1);
    assert_int_equal(brg_keyfile_ensure(path, &again, &created, &why), BRG_OK);
    assert_int_equal(created, 0);
    assert_true(brg_key_equal(&first.public_key, &again.public_key));
    brg_keypair_wipe(&again);
    brg_keypair_wipe(&first);
    assert_int_equal(chmod(path, 0644), 0); /* a bad file is not replaced */
    assert_int_equal(brg_keyfile_ensure(path, &again, &created, &why), BRG_EPERM);
}

static void key_text__is_40_characters_and_comes_back(void **state) {
    (void)state;
    struct brg_key key, back;
    char text[BRG_KEY_TEXT_BYTES];
    /* The test case of the specification: 8 bytes, "HelloWorld"; ours are four times that. */
    static const uint8_t hello[8] = {0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B};
    for (size_t i = 0; i < 4; i++) memcpy(key.bytes + 8 * i, hello, 8);
    assert_string_equal(brg_key_format(&key, text), "HelloWorldHelloWorldHelloWorldHelloWorld");
    assert_int_equal(brg_key_parse(text, &back, &why), BRG_OK);
    assert_true(brg_key_equal(&key, &back));

    memset(&back, 3, sizeof back);
    const struct brg_key before = back;
    assert_int_equal(brg_key_parse("HelloWorld", &back, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "single quotes"));
    assert_int_equal(brg_key_parse("HelloWorldHelloWorldHelloWorldHelloWorldx", &back, &why),
                     BRG_EINVAL);
    assert_int_equal(brg_key_parse("HelloWorld HelloWorldHelloWorldHelloWorl", &back, &why),
                     BRG_EINVAL);
    assert_int_equal(brg_key_parse("#####HelloWorldHelloWorldHelloWorldHello", &back, &why),
                     BRG_EINVAL); /* "#####" is more than 32 bits */
    assert_true(brg_key_equal(&before, &back));
}

static void join_url__comes_back_whatever_the_host_looks_like(void **state) {
    (void)state;
    static const char *const hosts[] = {"10.0.0.7", "coordinator.example.org", "fd00::7", "::1",
                                        "a"};
    struct brg_join join, back;
    char url[BRG_JOIN_URL_BYTES];
    for (uint32_t i = 0; i < 200; i++) { /* many keys: theirs may hold @, : and / */
        memset(&join, 0, sizeof join);
        randombytes_buf(join.server.bytes, sizeof join.server.bytes);
        (void)snprintf(join.host, sizeof join.host, "%s", hosts[i % 5]);
        join.port = (uint16_t)(1 + randombytes_uniform(65535));
        assert_int_equal(brg_join_parse(brg_join_format(&join, url), &back, &why), BRG_OK);
        assert_true(brg_key_equal(&join.server, &back.server));
        assert_string_equal(join.host, back.host);
        assert_int_equal(join.port, back.port);
    }
    assert_int_equal(
        brg_join_parse("brigade://HelloWorldHelloWorldHelloWorldHelloWorld@host", &back, &why),
        BRG_OK);
    assert_int_equal(back.port, BRG_PORT_DEFAULT);
}

static void join_url_with_a_fault__is_refused_with_one_sentence(void **state) {
    (void)state;
#define KEY40 "HelloWorldHelloWorldHelloWorldHelloWorld"
    static const struct {
        const char *url, *says;
    } cases[] = {
        {"", "begins with brigade://"},
        {"http://" KEY40 "@host:1", "begins with brigade://"},
        {"brigade://HelloWorld@host:7420", "no key of 40 characters"},
        {"brigade://" KEY40, "no key of 40 characters"},
        {"brigade://" KEY40 "x@host:1", "no key of 40 characters"},
        {"brigade://Hello WorldHelloWorldHelloWorldHelloWorl@host:1", "Z85 does not have"},
        {"brigade://" KEY40 "@", "names no host"},
        {"brigade://" KEY40 "@7420", "names no host"},
        {"brigade://" KEY40 "@host:0", "not a number of 1 to 65535"},
        {"brigade://" KEY40 "@host:65536", "not a number of 1 to 65535"},
        {"brigade://" KEY40 "@host:", "is no address"},
        {"brigade://" KEY40 "@host:12x", "not a number"},
        {"brigade://" KEY40 "@fd00::7:7420", "is no address"},
        {"brigade://" KEY40 "@[fd00::7", "is no address"},
        {"brigade://" KEY40 "@[fd00::7]7420", "is no address"},
        {"brigade://" KEY40 "@host;tcp://evil:1", "is no address"},
        {"brigade://" KEY40 "@ho st:1", "is no address"},
    };
    struct brg_join join, before;
    memset(&join, 9, sizeof join);
    before = join;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        why.text[0] = '\0';
        assert_int_equal(brg_join_parse(cases[i].url, &join, &why), BRG_EINVAL);
        if (strstr(why.text, cases[i].says) == NULL) fail_msg("%s: %s", cases[i].url, why.text);
        assert_memory_equal(&join, &before, sizeof join);
    }
    char url[600] = "brigade://" KEY40 "@";
    memset(url + strlen(url), 'h', 400);
    assert_int_equal(brg_join_parse(url, &join, &why), BRG_EINVAL);
}

static void address__may_leave_host_or_port_out(void **state) {
    (void)state;
    static const struct {
        const char *text, *host;
        uint16_t port;
        const char *endpoint;
    } cases[] = {
        {"7000", "0.0.0.0", 7000, "tcp://0.0.0.0:7000"},
        {"10.1.2.3", "10.1.2.3", BRG_PORT_DEFAULT, "tcp://10.1.2.3:7420"},
        {"localhost:65535", "localhost", 65535, "tcp://localhost:65535"},
        {"[::]:7420", "::", 7420, "tcp://[::]:7420"},
        {"[fe80::1]", "fe80::1", BRG_PORT_DEFAULT, "tcp://[fe80::1]:7420"},
    };
    char host[BRG_HOST_BYTES], endpoint[BRG_ENDPOINT_BYTES];
    uint16_t port;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(brg_address_parse(cases[i].text, host, &port, &why), BRG_OK);
        assert_string_equal(host, cases[i].host);
        assert_int_equal(port, cases[i].port);
        assert_string_equal(brg_endpoint_format(host, port, endpoint), cases[i].endpoint);
    }
    assert_int_equal(brg_address_parse("", host, &port, &why), BRG_EINVAL);
    assert_int_equal(brg_address_parse("70000", host, &port, &why), BRG_EINVAL);
    assert_int_equal(brg_address_parse("tcp://h:1", host, &port, &why), BRG_EINVAL);
}

static void token_created__has_its_form_and_is_never_the_same(void **state) {
    (void)state;
    char a[BRG_TOKEN_TEXT_BYTES], b[BRG_TOKEN_TEXT_BYTES];
    struct brg_digest hash_a, hash_b, plain;
    brg_token_create(a);
    brg_token_create(b);
    assert_int_equal(strlen(a), 36);
    assert_memory_equal(a, "brg_", 4);
    assert_int_equal(brg_token_parse(a, 36), BRG_OK);
    assert_string_not_equal(a, b);
    brg_token_hash(a, 36, &hash_a);
    brg_token_hash(b, 36, &hash_b);
    assert_false(brg_digest_equal(&hash_a, &hash_b));
    brg_token_hash(a, 36, &hash_b);
    assert_true(brg_digest_equal(&hash_a, &hash_b));
    brg_digest_of(a, 36, &plain); /* another use of the digest cannot give the same */
    assert_false(brg_digest_equal(&hash_a, &plain));

    assert_int_equal(brg_token_parse(a, 35), BRG_EINVAL);
    assert_int_equal(brg_token_parse("brx_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 36), BRG_EINVAL);
    assert_int_equal(brg_token_parse("brg_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+", 36), BRG_EINVAL);
    assert_int_equal(brg_token_parse("brg_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\0", 36), BRG_EINVAL);
}

static void token_file__is_read_and_its_mode_reported(void **state) {
    (void)state;
    static const char text[] = " \tbrg_AAAAAAAAAAAAAAAAAAAAAAAAAAAA-_09\r\n\n";
    char token[BRG_TOKEN_TEXT_BYTES];
    int others = 7;
    write_file(text, sizeof text - 1, 0600);
    assert_int_equal(brg_token_read(path, token, &others, &why), BRG_OK);
    assert_string_equal(token, "brg_AAAAAAAAAAAAAAAAAAAAAAAAAAAA-_09");
    assert_int_equal(others, 0);
    write_file(text, sizeof text - 1, 0644);
    assert_int_equal(brg_token_read(path, token, &others, &why), BRG_OK);
    assert_int_equal(others, 1);

    write_file("", 0, 0600);
    assert_int_equal(brg_token_read(path, token, NULL, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "brigade token create"));
    char big[5000];
    memset(big, ' ', sizeof big);
    memcpy(big, text, sizeof text - 1);
    write_file(big, sizeof big, 0600);
    assert_int_equal(brg_token_read(path, token, NULL, &why), BRG_EINVAL);
    assert_int_equal(brg_token_read("/nonexistent", token, NULL, &why), BRG_ENOENT);
    assert_int_equal(brg_token_read(dir, token, NULL, &why), BRG_EINVAL); /* a folder: EISDIR */
}

static void proof__verifies_under_its_key_and_values_only(void **state) {
    (void)state;
    uint8_t key[BRG_MAC_KEY_BYTES];
    struct brg_proof proof = {.run = 3, .step = 41};
    randombytes_buf(key, sizeof key);
    randombytes_buf(proof.chain.bytes, sizeof proof.chain.bytes);
    brg_proof_sign(key, &proof);
    assert_int_equal(brg_proof_verify(key, &proof), BRG_OK);
    proof.step++;
    assert_int_equal(brg_proof_verify(key, &proof), BRG_EPERM);
    proof.step--;
    proof.run++;
    assert_int_equal(brg_proof_verify(key, &proof), BRG_EPERM);
    proof.run--;
    proof.chain.bytes[31] ^= 1;
    assert_int_equal(brg_proof_verify(key, &proof), BRG_EPERM);
    proof.chain.bytes[31] ^= 1;
    proof.mac.bytes[0] ^= 1;
    assert_int_equal(brg_proof_verify(key, &proof), BRG_EPERM);
    proof.mac.bytes[0] ^= 1;
    key[5] ^= 1;
    assert_int_equal(brg_proof_verify(key, &proof), BRG_EPERM);
}

static void mac__keeps_parts_and_domains_apart(void **state) {
    (void)state;
    static const uint8_t key[BRG_MAC_KEY_BYTES] = {1};
    struct brg_digest a, b;
    const struct brg_mac_part ab_c[] = {{"ab", 2}, {"c", 1}}, a_bc[] = {{"a", 1}, {"bc", 2}};
    brg_mac(key, "one", ab_c, 2, &a);
    brg_mac(key, "one", ab_c, 2, &b);
    assert_true(brg_mac_equal(&a, &b));
    brg_mac(key, "one", a_bc, 2, &b);
    assert_false(brg_mac_equal(&a, &b));
    brg_mac(key, "two", ab_c, 2, &b);
    assert_false(brg_mac_equal(&a, &b));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keyfile_saved__is_private_and_comes_back),
        cmocka_unit_test(keyfile_that_others_may_touch__is_refused),
        cmocka_unit_test(keyfile_that_is_a_link_or_no_file__is_refused),
        cmocka_unit_test(keyfile_damaged__is_refused_wherever_it_is),
        cmocka_unit_test(keyfile_ensure__makes_one_and_then_finds_it),
        cmocka_unit_test(key_text__is_40_characters_and_comes_back),
        cmocka_unit_test(join_url__comes_back_whatever_the_host_looks_like),
        cmocka_unit_test(join_url_with_a_fault__is_refused_with_one_sentence),
        cmocka_unit_test(address__may_leave_host_or_port_out),
        cmocka_unit_test(token_created__has_its_form_and_is_never_the_same),
        cmocka_unit_test(token_file__is_read_and_its_mode_reported),
        cmocka_unit_test(proof__verifies_under_its_key_and_values_only),
        cmocka_unit_test(mac__keeps_parts_and_domains_apart),
    };
    return cmocka_run_group_tests_name("keys", tests, group_setup, group_teardown) != 0;
}
