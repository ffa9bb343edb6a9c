#include "base/why.h"

#include <errno.h>
#include <stdarg.h>

int brg_why_set(struct brg_why *why, int err, const char *format, ...) {
    const int saved = errno;
    va_list args;
    if (why != NULL) {
        va_start(args, format);
        if (vsnprintf(why->text, sizeof why->text, format, args) < 0) why->text[0] = '\0';
        va_end(args);
    }
    errno = saved;
    return err;
}
