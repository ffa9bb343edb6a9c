/* option.h - where a setting of the program comes from: flag, else environment, else file, else
 * its default.  Thread-safe as getenv is: nobody may call setenv meanwhile. */
#ifndef BRG_OPTION_H
#define BRG_OPTION_H

#include "base/base.h"

enum brg_option_source {
    BRG_OPTION_DEFAULT = 1,
    BRG_OPTION_FILE = 2,
    BRG_OPTION_ENVIRONMENT = 3,
    BRG_OPTION_FLAG = 4,
};

/* The candidates of one setting, NULL where there is none. */
struct brg_option {
    const char *name;     /* "listen" or "log-format": the flag without its dashes */
    const char *flag;     /* what stood on the command line */
    const char *file;     /* what stood in the configuration file */
    const char *fallback; /* the default */
};

/* brg_option_value - the candidate that counts, or NULL where there is none at all. An environment
 * variable that is set but empty counts as not set.
 *
 * shape:   *source (may be NULL): where it came from, for "bad value in BRIGADE_LISTEN"
 * own:     borrowed from `option` or the environment
 * asserts: the name fits BRG_OPTION_ENV_BYTES with its prefix */
const char *brg_option_value(const struct brg_option *option, enum brg_option_source *source);

#define BRG_OPTION_ENV_BYTES 64u

/* brg_option_env_name - "log-format" -> "BRIGADE_LOG_FORMAT". shape: out [BRG_OPTION_ENV_BYTES] */
const char *brg_option_env_name(const char *name, char *out);

#endif
