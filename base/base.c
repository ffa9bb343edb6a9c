#include "base/base.h"

const char *brg_strerror(int err) {
    switch (err) {
    case BRG_OK: return "success";
#define BRG_ERR_TEXT(name, number, text)                                                           \
    case BRG_##name: return text;
        BRG_ERRORS(BRG_ERR_TEXT)
#undef BRG_ERR_TEXT
    default: return "unknown error";
    }
}

_Noreturn void brg_assert_failed(const char *file, int line, const char *cond) {
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, cond);
    abort();
}
