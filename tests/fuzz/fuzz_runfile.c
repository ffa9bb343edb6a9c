/* fuzz_runfile.c - any bytes at all as a run file: no crash, no silence, and what is accepted can
 * be written, read back to the same struct and explained. */
#include <stdint.h>
#include <string.h>

#include "coordinator/shell/runfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static struct brg_run_config config, again;
static struct brg_run_faults faults;

static void check_accepted(void) {
    struct brg_why why;
    char *text = NULL, *explained = NULL;
    size_t explained_bytes = 0;
    int rc = brg_run_config_text(&config, &text);
    BRG_ASSERT(rc == BRG_OK);
    rc = brg_runfile_parse(text, strlen(text), NULL, BRG_RUNFILE_OFFLINE, &again, &faults);
    BRG_ASSERT(rc == BRG_OK);
    int differs = memcmp(&again, &config, sizeof config);
    BRG_ASSERT(differs == 0);
    rc = brg_run_config_check(&config, &why);
    BRG_ASSERT(rc == BRG_OK);
    FILE *out = open_memstream(&explained, &explained_bytes);
    BRG_ASSERT(out != NULL);
    rc = brg_run_config_explain(&config, out);
    BRG_ASSERT(rc == BRG_OK);
    (void)fclose(out);
    free(explained);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    int rc = brg_runfile_parse((const char *)data, size_bytes, "/runs", BRG_RUNFILE_OFFLINE,
                               &config, &faults);
    BRG_ASSERT(rc == BRG_OK || rc == BRG_EINVAL);
    BRG_ASSERT((rc == BRG_OK) == (faults.count == 0));
    for (uint32_t i = 0; i < faults.count; i++) BRG_ASSERT(faults.items[i].text[0] != 0);
    if (rc == BRG_OK) check_accepted();
    return 0;
}
