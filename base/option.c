#include "base/option.h"

#include <string.h>

const char *brg_option_env_name(const char *name, char *out) {
    static const char prefix[] = "BRIGADE_";
    size_t n = sizeof prefix - 1;
    memcpy(out, prefix, n);
    for (; *name != 0; name++) {
        BRG_ASSERT(n + 1 < BRG_OPTION_ENV_BYTES);
        out[n++] = (char)(*name == '-' ? '_' : *name >= 'a' && *name <= 'z' ? *name - 32 : *name);
    }
    out[n] = 0;
    return out;
}

const char *brg_option_value(const struct brg_option *option, enum brg_option_source *source) {
    char env_name[BRG_OPTION_ENV_BYTES];
    enum brg_option_source from = BRG_OPTION_DEFAULT;
    const char *value = option->fallback;
    const char *env = getenv(brg_option_env_name(option->name, env_name));

    if (option->flag != NULL) {
        value = option->flag;
        from = BRG_OPTION_FLAG;
    } else if (env != NULL && *env != 0) {
        value = env;
        from = BRG_OPTION_ENVIRONMENT;
    } else if (option->file != NULL) {
        value = option->file;
        from = BRG_OPTION_FILE;
    }
    if (source != NULL) *source = from;
    return value;
}
