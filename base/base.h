/* base.h - the error type, the assertion and the attribute macros that every module uses.
 *
 * Errors are negative, 0 is success. A new code is one line in BRG_ERRORS; its number never
 * changes, since it travels in logs and on the wire. */
#ifndef BRG_BASE_H
#define BRG_BASE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define BRG_ERRORS(X)                                                                              \
    X(ENOMEM, -1, "out of memory or over a budget")                                                \
    X(EINVAL, -2, "an argument or a setting is out of its range")                                  \
    X(EPROTO, -3, "a peer sent something that the protocol forbids")                               \
    X(EIO, -4, "the operating system or the disk failed")                                          \
    X(ECORRUPT, -5, "stored bytes do not verify")                                                  \
    X(EPERM, -6, "a file or a peer is not allowed to do this")                                     \
    X(EFULL, -7, "a fixed-size table or queue is full")                                            \
    X(ERANK, -8, "the shares at hand do not span the gradient")                                    \
    X(ENOENT, -9, "it does not exist")                                                             \
    X(ENOSPC, -10, "the disk is full")                                                             \
    X(ETIMEDOUT, -11, "a wait reached its bound")                                                  \
    X(ECANCELED, -12, "cancelled before it was done")                                              \
    X(EEXIST, -13, "it exists already")                                                            \
    X(EBEHIND, -14, "the store is behind what a worker has proof of")

enum brg_err {
    BRG_OK = 0,
#define BRG_ERR_ENUM(name, number, text) BRG_##name = (number),
    BRG_ERRORS(BRG_ERR_ENUM)
#undef BRG_ERR_ENUM
};

/* brg_strerror - the sentence that belongs to `err`; never NULL. */
const char *brg_strerror(int err);

/* The caller must look at the result. */
#define BRG_CHECK __attribute__((warn_unused_result))
#define BRG_PRINTF(text_at, first) __attribute__((format(printf, text_at, first)))

/* For programmer errors only, never for input: stays on in release builds. */
#define BRG_ASSERT(cond)                                                                           \
    do {                                                                                           \
        if (!(cond)) brg_assert_failed(__FILE__, __LINE__, #cond);                                 \
    } while (0)

_Noreturn void brg_assert_failed(const char *file, int line, const char *cond);

#define BRG_NS_PER_US UINT64_C(1000)
#define BRG_NS_PER_MS UINT64_C(1000000)
#define BRG_NS_PER_S UINT64_C(1000000000)

#endif
