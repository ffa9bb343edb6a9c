#include "model/prepare_list.h"

#include "model/data_parse.h"
#include "model/prepare.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int unreadable(const char *path, struct brg_data_error *error) {
    const int rc = brg_file_error(errno);
    return brg_data_fail(error, rc == BRG_OK ? BRG_EIO : rc, path,
                         "cannot be read (%s); check the path and its permissions",
                         strerror(errno));
}

static int append(struct brg_prepare_list *list, const char *path, struct brg_data_error *error) {
    if (list->count == BRG_PREPARE_FILES_MAX)
        return brg_data_fail(error, BRG_EFULL, path, "over %u texts; join some of them first (cat)",
                             BRG_PREPARE_FILES_MAX);
    if (list->count == list->capacity) {
        const uint32_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
        char **grown = realloc(list->paths, capacity * sizeof *grown);
        if (grown == NULL) return brg_data_fail(error, BRG_ENOMEM, path, "out of memory");
        list->paths = grown;
        list->capacity = capacity;
    }
    list->paths[list->count] = strdup(path);
    if (list->paths[list->count] == NULL)
        return brg_data_fail(error, BRG_ENOMEM, path, "out of memory");
    list->count++;
    return BRG_OK;
}

static int ends_with(const char *name, const char *suffix) {
    const size_t n = strlen(name), m = strlen(suffix);
    return n > m && memcmp(name + n - m, suffix, m) == 0;
}

/* All texts below folder `path`, in the order the file system has them. */
static int walk(struct brg_prepare_list *list, const char *path, uint32_t depth,
                struct brg_data_error *error) {
    int rc = BRG_OK;
    char *inner = malloc(BRG_FILE_PATH_BYTES);
    DIR *dir = NULL;
    struct stat st;

    if (inner == NULL) return brg_data_fail(error, BRG_ENOMEM, path, "out of memory");
    if (depth == BRG_PREPARE_DEPTH_MAX) {
        rc = brg_data_fail(error, BRG_EINVAL, path,
                           "folders are nested over %u deep (a link in a circle?); give the "
                           "folders with the texts",
                           BRG_PREPARE_DEPTH_MAX);
        goto out;
    }
    dir = opendir(path);
    if (dir == NULL) {
        rc = unreadable(path, error);
        goto out;
    }
    errno = 0;
    for (const struct dirent *e = readdir(dir); rc == BRG_OK && e != NULL; e = readdir(dir)) {
        if (e->d_name[0] == '.') continue;
        const int n = snprintf(inner, BRG_FILE_PATH_BYTES, "%s/%s", path, e->d_name);
        if (n < 0 || (size_t)n >= BRG_FILE_PATH_BYTES) {
            rc = brg_data_fail(error, BRG_EINVAL, path, "a path in it is too long");
        } else if (stat(inner, &st) != 0) {
            rc = unreadable(inner, error);
        } else if (S_ISDIR(st.st_mode)) {
            rc = walk(list, inner, depth + 1, error);
        } else if (S_ISREG(st.st_mode) &&
                   (ends_with(inner, ".txt") || ends_with(inner, ".txt.gz"))) {
            rc = append(list, inner, error);
        }
        errno = 0;
    }
    if (rc == BRG_OK && errno != 0) rc = unreadable(path, error);
out:
    if (dir != NULL) (void)closedir(dir);
    free(inner);
    return rc;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int brg_prepare_list_add(struct brg_prepare_list *list, const char *path,
                         struct brg_data_error *error) {
    struct stat st;
    const uint32_t before = list->count;
    if (stat(path, &st) != 0) return unreadable(path, error);
    if (!S_ISDIR(st.st_mode)) return append(list, path, error);
    const int rc = walk(list, path, 0, error);
    if (rc != BRG_OK) return rc;
    if (list->count == before)
        return brg_data_fail(error, BRG_ENOENT, path,
                             "the folder holds no *.txt or *.txt.gz; name the files one by one");
    qsort(list->paths + before, list->count - before, sizeof *list->paths, by_bytes);
    return BRG_OK;
}

void brg_prepare_list_clear(struct brg_prepare_list *list) {
    for (uint32_t i = 0; i < list->count; i++) free(list->paths[i]);
    free(list->paths);
    *list = (struct brg_prepare_list){0};
}
