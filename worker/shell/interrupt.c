/* interrupt.c - the flag that ends a computation, and sleeps that it wakes. */
#include <errno.h>
#include <time.h>

#include "worker/shell/gradient.h"

/* A wait longer than this is cut, so that the deadline cannot overflow a timespec. */
#define SLEEP_MAX_NS (UINT64_C(86400) * BRG_NS_PER_S)

static void lock(struct brg_interrupt *i) {
    const int rc = pthread_mutex_lock(&i->lock);
    BRG_ASSERT(rc == 0);
}

static void unlock(struct brg_interrupt *i) {
    const int rc = pthread_mutex_unlock(&i->lock);
    BRG_ASSERT(rc == 0);
}

int brg_interrupt_init(struct brg_interrupt *i) {
    pthread_condattr_t attr;
    i->raised = 0;
    if (pthread_mutex_init(&i->lock, NULL) != 0) return BRG_ENOMEM;
    if (pthread_condattr_init(&attr) == 0) {
        int rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        if (rc == 0) rc = pthread_cond_init(&i->raised_cond, &attr);
        (void)pthread_condattr_destroy(&attr);
        if (rc == 0) return BRG_OK;
    }
    (void)pthread_mutex_destroy(&i->lock);
    return BRG_ENOMEM;
}

void brg_interrupt_fini(struct brg_interrupt *i) {
    (void)pthread_cond_destroy(&i->raised_cond);
    (void)pthread_mutex_destroy(&i->lock);
}

void brg_interrupt_raise(struct brg_interrupt *i) {
    lock(i);
    i->raised = 1;
    const int rc = pthread_cond_broadcast(&i->raised_cond);
    BRG_ASSERT(rc == 0);
    unlock(i);
}

void brg_interrupt_lower(struct brg_interrupt *i) {
    lock(i);
    i->raised = 0;
    unlock(i);
}

int brg_interrupt_is_raised(struct brg_interrupt *i) {
    lock(i);
    const int raised = i->raised;
    unlock(i);
    return raised;
}

int brg_interrupt_sleep(struct brg_interrupt *i, uint64_t for_ns) {
    struct timespec until;
    const uint64_t bounded_ns = for_ns < SLEEP_MAX_NS ? for_ns : SLEEP_MAX_NS;
    int rc = clock_gettime(CLOCK_MONOTONIC, &until);
    BRG_ASSERT(rc == 0);
    const uint64_t ns = (uint64_t)until.tv_nsec + bounded_ns % BRG_NS_PER_S;
    until.tv_sec += (time_t)(bounded_ns / BRG_NS_PER_S + ns / BRG_NS_PER_S);
    until.tv_nsec = (long)(ns % BRG_NS_PER_S);

    lock(i);
    while (!i->raised && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&i->raised_cond, &i->lock, &until);
        BRG_ASSERT(rc == 0 || rc == ETIMEDOUT);
    }
    const int raised = i->raised;
    unlock(i);
    return raised ? BRG_ECANCELED : BRG_OK;
}
