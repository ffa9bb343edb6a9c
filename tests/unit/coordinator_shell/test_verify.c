/* Shares are held against the digest that their worker gave before anything is made of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/shell/jobs.h"

#define SHARE_BYTES 4000u
#define TRIES_MAX 10000u /* of a millisecond each */

/* What the compute thread says of a share in which byte `at` was changed on the way, SHARE_BYTES
 * for none. */
static int verdict(uint32_t at) {
    struct brg_pool *pool = NULL;
    struct brg_jobs *jobs = NULL;
    assert_int_equal(brg_pool_create(&pool, UINT64_C(1) << 20), BRG_OK);
    assert_int_equal(brg_jobs_create(&jobs), BRG_OK);
    struct brg_shell_job *job = brg_job_new(BRG_JOB_VERIFY);
    assert_int_equal(brg_pool_get(pool, SHARE_BYTES, &job->verify.buffer), BRG_OK);
    uint8_t *bytes = (uint8_t *)job->verify.buffer->data;
    for (uint32_t i = 0; i < SHARE_BYTES; i++) bytes[i] = (uint8_t)(i * 7);
    job->verify.size_bytes = SHARE_BYTES;
    brg_digest_of(bytes, SHARE_BYTES, &job->verify.digest);
    if (at < SHARE_BYTES) bytes[at] ^= 1;
    brg_jobs_give(jobs, job);

    struct brg_shell_job *answer = NULL;
    for (uint32_t i = 0; i < TRIES_MAX && answer == NULL; i++) {
        answer = brg_jobs_take(jobs);
        if (answer == NULL) (void)usleep(1000);
    }
    assert_non_null(answer);
    const int rc = answer->rc;
    brg_job_free(answer);
    brg_jobs_destroy(&jobs);
    brg_pool_destroy(&pool);
    return rc;
}

static void verify_share_as_announced__is_good(void **state) {
    (void)state;
    assert_int_equal(verdict(SHARE_BYTES), BRG_OK);
}

static void verify_share_with_one_changed_bit__is_corrupt(void **state) {
    (void)state;
    const uint32_t places[] = {0, 1, SHARE_BYTES / 2, SHARE_BYTES - 1};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        assert_int_equal(verdict(places[i]), BRG_ECORRUPT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verify_share_as_announced__is_good),
        cmocka_unit_test(verify_share_with_one_changed_bit__is_corrupt),
    };
    return cmocka_run_group_tests_name("verify", tests, NULL, NULL) != 0;
}
