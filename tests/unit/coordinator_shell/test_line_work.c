/* The compute thread's half of a pipeline's checkpoints: states in, files, states out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coordinator/shell/line.h"
#include "tests/unit/coordinator_shell/shards_fixture.h"

static struct brg_pool *pool;

static int setup(void **state) {
    BRG_ASSERT(brg_pool_create(&pool, 64u << 20) == BRG_OK);
    return make_folder(state);
}

static int teardown(void **state) {
    brg_pool_destroy(&pool);
    return remove_folder(state);
}

static struct brg_line_work *work(uint32_t type, uint64_t step, uint32_t stages) {
    struct brg_line_work *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->type = type;
    w->step = w->committed = step;
    w->run = RUN;
    w->stages = stages;
    w->keep = 1;
    w->moments = 2;
    w->folder = folder;
    w->model = llama(0);
    w->about = describe(step, stages);
    w->pool = pool;
    return w;
}

/* All stages put, as the reactor does: the writer travels from work to work. */
static int save_by_work(uint64_t step, uint32_t stages) {
    struct brg_shards_writer *writer = NULL;
    struct brg_why why = {""};
    int is_there = 0;
    for (uint32_t i = 0; i < stages && !is_there; i++) {
        struct brg_line_work *w = work(BRG_LINE_WORK_PUT, step, stages);
        struct brg_stage stage;
        uint64_t size = 0;
        assert_int_equal(brg_stage_cut(&w->model, stages, i, &stage, NULL), BRG_OK);
        uint8_t *blob = make_blob(&stage, &w->about, &plain, &size);
        assert_int_equal(brg_pool_get(pool, size, &w->blob), BRG_OK);
        memcpy(w->blob->data, blob, size);
        free(blob);
        w->stage = i;
        w->size_bytes = size;
        w->writer = writer;
        assert_int_equal(brg_line_work_run(w, &why), BRG_OK);
        writer = w->writer;
        w->writer = NULL;
        is_there = w->is_there;
        brg_line_work_free(w);
    }
    struct brg_line_work *last = work(BRG_LINE_WORK_FINISH, step, stages);
    last->writer = writer;
    assert_int_equal(brg_line_work_run(last, &why), BRG_OK);
    brg_line_work_free(last);
    return is_there;
}

static void must_load(uint64_t step, uint32_t stages) {
    for (uint32_t i = 0; i < stages; i++) {
        struct brg_line_work *w = work(BRG_LINE_WORK_LOAD, step, stages);
        struct brg_stage stage;
        uint64_t size = 0;
        assert_int_equal(brg_stage_cut(&w->model, stages, i, &stage, NULL), BRG_OK);
        uint8_t *expected = make_blob(&stage, &w->about, &plain, &size);
        w->stage = i;
        w->lineage = plain.lineage;
        assert_int_equal(brg_line_work_run(w, NULL), BRG_OK);
        assert_int_equal(w->source.size_bytes, size);
        assert_int_equal(w->source.object.kind, BRG_OBJECT_STATE);
        assert_int_equal(w->source.object.unit, i);
        assert_int_equal(w->source.object.step, step);
        assert_memory_equal(w->source.buffer->data, expected, size);
        free(expected);
        brg_line_work_free(w);
    }
}

static void line_work_saved__is_loaded_for_another_cut(void **state) {
    (void)state;
    assert_int_equal(save_by_work(50, 3), 0);
    must_load(50, 3);
    must_load(50, 4);
}

static void line_work_saved_again__finds_it_there(void **state) {
    (void)state;
    assert_int_equal(save_by_work(50, 3), 0);
    assert_int_equal(save_by_work(50, 3), 1);
    must_load(50, 3);
}

static void line_work_finished__lets_older_ones_go(void **state) {
    (void)state;
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    uint32_t count = 0;
    (void)save_by_work(50, 3);
    (void)save_by_work(60, 3);
    assert_int_equal(brg_shards_list(folder, RUN, items, &count, NULL), BRG_OK);
    assert_int_equal(count, 1);
    assert_int_equal(items[0].step, 60);
}

static void line_work_drop__takes_what_was_rolled_back(void **state) {
    (void)state;
    uint32_t count = 9;
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    (void)save_by_work(50, 3);
    struct brg_line_work *w = work(BRG_LINE_WORK_DROP, 40, 3);
    assert_int_equal(brg_line_work_run(w, NULL), BRG_OK);
    brg_line_work_free(w);
    assert_int_equal(brg_shards_list(folder, RUN, items, &count, NULL), BRG_OK);
    assert_int_equal(count, 0);
}

static void line_work_of_a_wrong_state__is_the_workers_fault(void **state) {
    (void)state;
    struct brg_why why = {""};
    struct brg_line_work *w = work(BRG_LINE_WORK_PUT, 50, 3);
    assert_int_equal(brg_pool_get(pool, 4096, &w->blob), BRG_OK);
    memset(w->blob->data, 0x55, 4096);
    w->size_bytes = 4096;
    assert_int_equal(brg_line_work_run(w, &why), BRG_EPROTO);
    brg_line_work_free(w); /* with its writer */
    w = work(BRG_LINE_WORK_LOAD, 50, 3);
    assert_int_equal(brg_line_work_run(w, &why), BRG_ENOENT);
    brg_line_work_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(line_work_saved__is_loaded_for_another_cut),
        TEST(line_work_saved_again__finds_it_there),
        TEST(line_work_finished__lets_older_ones_go),
        TEST(line_work_drop__takes_what_was_rolled_back),
        TEST(line_work_of_a_wrong_state__is_the_workers_fault),
    };
    return cmocka_run_group_tests_name("line_work", tests, NULL, NULL) != 0;
}
