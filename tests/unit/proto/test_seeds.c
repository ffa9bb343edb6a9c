/* The fuzzer's seeds are the sample messages, packed: this test makes them anew with an argument,
 * and without one holds them against what the code packs today, so that they cannot grow stale. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/file.h"
#include "samples.h"

#define CORPUS "tests/fuzz/corpus/wire/"

static const char *root; /* of the source tree */
static int do_write;

static void seeds_of_every_message__are_what_is_packed_today(void **state) {
    (void)state;
    static struct brg_msg msg;
    static uint8_t packed[65536];
    for (uint32_t i = 0; i <= SAMPLE_COUNT; i++) { /* at last a Run of a pipeline */
        const int is_line = i == SAMPLE_COUNT;
        char path[512];
        size_t size_bytes = 0, stored_bytes = 0;
        uint8_t *stored = NULL;
        sample(is_line ? (uint32_t)BRG_MSG_RUN : sample_types[i], &msg);
        if (is_line) sample_run_line(&msg.run);
        assert_int_equal(brg_wire_pack(&msg, packed, sizeof packed, &size_bytes), BRG_OK);
        (void)snprintf(path, sizeof path, "%s/" CORPUS "%s%s", root, brg_msg_name(msg.type),
                       is_line ? "Line" : "");
        if (do_write) {
            assert_int_equal(brg_file_write_atomic(path, 0644, packed, size_bytes), BRG_OK);
        }
        assert_int_equal(brg_file_read(path, sizeof packed, &stored, &stored_bytes), BRG_OK);
        assert_int_equal(stored_bytes, size_bytes);
        assert_memory_equal(stored, packed, size_bytes);
        free(stored);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_of_every_message__are_what_is_packed_today),
    };
    static char source[512];
    (void)snprintf(source, sizeof source, "%s", __FILE__);
    char *tail = strstr(source, "/tests/unit/proto/");
    if (tail != NULL) *tail = '\0';
    root = tail != NULL ? source : ".";
    do_write = argc == 2 && strcmp(argv[1], "--write") == 0;
    return cmocka_run_group_tests_name("seeds", tests, NULL, NULL) != 0;
}
