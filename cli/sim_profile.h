/* sim_profile.h - the delays of `brigade sim`: a process written as text, or a recorded file. */
#ifndef BRG_CLI_SIM_PROFILE_H
#define BRG_CLI_SIM_PROFILE_H

#include "base/why.h"
#include "coding/profile.h"

#define BRG_SIM_FILE_BYTES_MAX (UINT64_C(1) << 28) /* of a recording */

struct brg_sim_profile {
    struct brg_profile profile;         /* cells: free() them */
    struct brg_profile_summary summary; /* cells 0 where nothing was fitted */
};

/* brg_sim_profile_parse_ge - "gilbert-elliott:p=0.0416,q=0.845,base=500ms": what is not named keeps
 * its default. errors: BRG_EINVAL with the sentence */
BRG_CHECK int brg_sim_profile_parse_ge(const char *text, struct brg_profile_ge *ge,
                                       struct brg_why *why);

/* brg_sim_profile_load - the profile that `text` stands for.
 *
 * shape:  text: the process, or the name of a CSV file; n, rounds: of a process; a file brings its
 *         own; alpha_s: compute of a whole batch, for files without two loads
 * own:    out->profile.cells is the caller's; NULL after an error
 * errors: BRG_EINVAL, BRG_ENOMEM or of the file, with the sentence */
BRG_CHECK int brg_sim_profile_load(const char *text, uint32_t n, uint32_t rounds, uint64_t seed,
                                   double alpha_s, struct brg_sim_profile *out,
                                   struct brg_why *why);

#endif
