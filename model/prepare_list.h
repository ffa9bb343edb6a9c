/* prepare_list.h - the texts that inputs and folders stand for. For model/prepare*.c. */
#ifndef BRG_PREPARE_LIST_H
#define BRG_PREPARE_LIST_H

#include "model/data.h"

/* Paths, owned by the list; zero it to begin with. */
struct brg_prepare_list {
    char **paths;
    uint32_t count, capacity;
};

/* brg_prepare_list_add - adds file `path`, or all texts of folder `path`.
 *
 * errors: BRG_ENOENT it is not there, or the folder holds no text; BRG_EFULL over
 *         BRG_PREPARE_FILES_MAX; BRG_EINVAL too deep or a path too long; BRG_EPERM, BRG_EIO,
 * BRG_ENOMEM */
BRG_CHECK int brg_prepare_list_add(struct brg_prepare_list *list, const char *path,
                                   struct brg_data_error *error);

/* brg_prepare_list_clear - frees all paths. */
void brg_prepare_list_clear(struct brg_prepare_list *list);

#endif
