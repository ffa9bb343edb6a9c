/* tokenizer_json.c - reading tokenizer.json: byte-level BPE, and a named refusal of all else.
 *
 * Looked at: model (type BPE, vocab, merges, ignore_merges), pre_tokenizer (ByteLevel, alone or
 * behind one Split by a pattern that is known), added_tokens, post_processor (only whether it puts
 * a begin mark first). A normalizer, byte_fallback, dropout and affixes would change what comes
 * out: they are refused where they are set. */
#include "model/tokenizer_private.h"

#include "base/file.h"
#include "model/import_json.h"
#include "model/unicode.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* A file being read. */
struct reader {
    struct brg_import_json j;
    const cJSON *root, *model;
    struct brg_tokenizer *t;
    uint8_t *bytes; /* of one token; [longest symbol text] */
    size_t capacity;
};

static int refused(const struct reader *r, const char *what) {
    return brg_why_set(r->j.why, BRG_EINVAL,
                       "%s: %s; only byte-level BPE as GPT-2, LLaMA 3 and Qwen 2 have it can be "
                       "used",
                       r->j.name, what);
}

static int damaged(const struct reader *r, const char *what, const char *of) {
    return brg_why_set(r->j.why, BRG_ECORRUPT, "%s: %s '%.60s'; fetch the file again", r->j.name,
                       what, of);
}

static int is_type(const cJSON *o, const char *type) {
    const cJSON *item = brg_import_json_get(o, "type");
    return cJSON_IsString(item) && strcmp(item->valuestring, type) == 0;
}

static int is_true(const cJSON *o, const char *key) {
    return cJSON_IsTrue(brg_import_json_get(o, key));
}

/* A text that is set and not empty. */
static int has_text(const cJSON *o, const char *key) {
    const cJSON *item = brg_import_json_get(o, key);
    return cJSON_IsString(item) && item->valuestring[0] != '\0';
}

static int check_model(struct reader *r) {
    r->model = brg_import_json_get(r->root, "model");
    if (!cJSON_IsObject(r->model)) return damaged(r, "it lacks", "model");
    const cJSON *type = brg_import_json_get(r->model, "type");
    const int is_bpe = type == NULL || is_type(r->model, "BPE");
    if (!is_bpe) return refused(r, "its model is not of type BPE");
    if (brg_import_json_get(r->root, "normalizer") != NULL)
        return refused(r, "it has a normalizer, which changes the text");
    if (is_true(r->model, "byte_fallback"))
        return refused(r, "it is SentencePiece's BPE with byte_fallback");
    if (brg_import_json_get(r->model, "dropout") != NULL) return refused(r, "it has a dropout");
    if (has_text(r->model, "continuing_subword_prefix") || has_text(r->model, "end_of_word_suffix"))
        return refused(r, "its pieces have a prefix or suffix");
    r->t->ignore_merges = (uint32_t)is_true(r->model, "ignore_merges");
    return BRG_OK;
}

/* The kind by its pattern; 0: not known. */
static uint32_t kind_of(const char *pattern) {
    if (strcmp(pattern, BRG_TOKENIZER_GPT2_PATTERN) == 0) return BRG_TOKENIZER_GPT2;
    if (strcmp(pattern, BRG_TOKENIZER_LLAMA3_PATTERN) == 0) return BRG_TOKENIZER_LLAMA3;
    if (strcmp(pattern, BRG_TOKENIZER_QWEN2_PATTERN) == 0) return BRG_TOKENIZER_QWEN2;
    return 0;
}

static int read_split(struct reader *r, const cJSON *o) {
    const cJSON *pattern = brg_import_json_get(brg_import_json_get(o, "pattern"), "Regex");
    const cJSON *behavior = brg_import_json_get(o, "behavior");
    if (!is_type(o, "Split") || !cJSON_IsString(pattern) || !cJSON_IsString(behavior) ||
        strcmp(behavior->valuestring, "Isolated") != 0 || is_true(o, "invert"))
        return refused(r, "its pre_tokenizer is not a Split by a pattern, then ByteLevel");
    r->t->info.kind = kind_of(pattern->valuestring);
    return r->t->info.kind != 0 ? BRG_OK : refused(r, "its pattern for words is not known");
}

static int read_pre_tokenizer(struct reader *r) {
    const cJSON *pre = brg_import_json_get(r->root, "pre_tokenizer");
    const cJSON *level = pre;
    if (is_type(pre, "Sequence")) {
        const cJSON *list = brg_import_json_get(pre, "pretokenizers");
        if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != 2)
            return refused(r, "its pre_tokenizer is not a Split by a pattern, then ByteLevel");
        const int rc = read_split(r, list->child);
        if (rc != BRG_OK) return rc;
        level = list->child->next;
        if (!cJSON_IsFalse(brg_import_json_get(level, "use_regex")))
            return refused(r, "its words are split twice");
    } else {
        r->t->info.kind = BRG_TOKENIZER_GPT2;
        if (cJSON_IsFalse(brg_import_json_get(level, "use_regex")))
            return refused(r, "its text is not split into words");
    }
    if (!is_type(level, "ByteLevel")) return refused(r, "its pre_tokenizer is not ByteLevel");
    if (is_true(level, "add_prefix_space"))
        return refused(r, "it puts a blank before each text (add_prefix_space)");
    return BRG_OK;
}

/* Bytes of a piece that is written in GPT-2's symbols; -1 where it has others. */
static long bytes_of(struct reader *r, const char *symbols, size_t size) {
    size_t count = 0;
    if (size > r->capacity) {
        uint8_t *grown = realloc(r->bytes, size);
        if (grown == NULL) return -1;
        r->bytes = grown;
        r->capacity = size;
    }
    for (size_t at = 0; at < size;) {
        uint32_t taken = 1;
        const uint32_t point = brg_unicode_take((const uint8_t *)symbols + at, size - at, &taken);
        const int byte = brg_tokenizer_byte_of(point);
        if (byte < 0) return -1;
        r->bytes[count++] = (uint8_t)byte;
        at += taken;
    }
    return (long)count;
}

/* The highest number of all tokens, plus one. */
static int count_vocab(const struct reader *r, const cJSON *vocab, const cJSON *added,
                       uint32_t *out) {
    uint64_t id = 0;
    *out = 0;
    for (const cJSON *c = vocab->child; c != NULL; c = c->next) {
        if (!brg_import_json_whole(c, &id) || id >= BRG_TOKENIZER_VOCAB_MAX)
            return damaged(r, "no number in range belongs to token", c->string);
        if (id >= *out) *out = (uint32_t)id + 1;
    }
    for (const cJSON *c = added != NULL ? added->child : NULL; c != NULL; c = c->next) {
        if (!brg_import_json_whole(brg_import_json_get(c, "id"), &id) ||
            id >= BRG_TOKENIZER_VOCAB_MAX)
            return damaged(r, "a number is missing in", "added_tokens");
        if (id >= *out) *out = (uint32_t)id + 1;
    }
    return *out > 0 ? BRG_OK : damaged(r, "no token is in", "vocab");
}

static int put_vocab(struct reader *r, const cJSON *vocab) {
    for (const cJSON *c = vocab->child; c != NULL; c = c->next) {
        const uint32_t id = (uint32_t)c->valuedouble;
        const long size = bytes_of(r, c->string, strlen(c->string));
        if (r->t->tokens[id].size > 0)
            return damaged(r, "its number has another, too: token", c->string);
        /* A mark such as <|endoftext|> may stand in the vocab, too; text cannot make others. */
        const int rc =
            size > 0 ? brg_tokenizer_put(r->t, id, r->bytes, (size_t)size, BRG_TOKEN_NORMAL, 0)
                     : brg_tokenizer_put(r->t, id, (const uint8_t *)c->string, strlen(c->string),
                                         BRG_TOKEN_UNUSED, 0);
        if (rc != BRG_OK) return rc;
    }
    return BRG_OK;
}

static int put_added(struct reader *r, const cJSON *added) {
    for (const cJSON *c = added != NULL ? added->child : NULL; c != NULL; c = c->next) {
        const cJSON *content = brg_import_json_get(c, "content");
        const uint32_t id = (uint32_t)brg_import_json_get(c, "id")->valuedouble;
        if (!cJSON_IsString(content) || content->valuestring[0] == '\0')
            return damaged(r, "a text is missing in", "added_tokens");
        if (is_true(c, "lstrip") || is_true(c, "rstrip") || is_true(c, "single_word"))
            return refused(r, "an added token takes the blanks around it");
        const int rc = brg_tokenizer_put(
            r->t, id, (const uint8_t *)content->valuestring, strlen(content->valuestring),
            is_true(c, "special") ? BRG_TOKEN_CONTROL : BRG_TOKEN_ADDED, 0);
        if (rc != BRG_OK) return rc;
    }
    return BRG_OK;
}

/* Left and right of one merge, as texts. "a b" or ["a", "b"]. */
static int read_pair(const cJSON *item, const char **left, size_t *left_size, const char **right) {
    if (cJSON_IsString(item)) {
        const char *blank = strchr(item->valuestring, ' ');
        if (blank == NULL || blank == item->valuestring) return 0;
        *left = item->valuestring;
        *left_size = (size_t)(blank - item->valuestring);
        *right = blank + 1;
        return **right != '\0';
    }
    if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != 2 || !cJSON_IsString(item->child) ||
        !cJSON_IsString(item->child->next))
        return 0;
    *left = item->child->valuestring;
    *left_size = strlen(*left);
    *right = item->child->next->valuestring;
    return **left != '\0' && **right != '\0';
}

static uint32_t find_piece(struct reader *r, const char *text, size_t size) {
    const long bytes = bytes_of(r, text, size);
    return bytes <= 0 ? BRG_TOKEN_NONE : brg_tokenizer_find(r->t, r->bytes, (size_t)bytes);
}

static int put_merges(struct reader *r, const cJSON *merges) {
    char *joined = NULL;
    int rc = BRG_OK;
    for (const cJSON *c = merges->child; c != NULL && rc == BRG_OK; c = c->next) {
        const char *left = NULL, *right = NULL;
        size_t left_size = 0;
        const char *shown = cJSON_IsString(c) ? c->valuestring : "[...]";
        if (!read_pair(c, &left, &left_size, &right)) {
            rc = damaged(r, "no pair is the merge", shown);
            break;
        }
        const size_t right_size = strlen(right);
        char *grown = realloc(joined, left_size + right_size);
        if (grown == NULL) {
            rc = BRG_ENOMEM;
            break;
        }
        joined = grown;
        memcpy(joined, left, left_size);
        memcpy(joined + left_size, right, right_size);
        const struct brg_merge m = {.left = find_piece(r, left, left_size),
                                    .right = find_piece(r, right, right_size),
                                    .result = find_piece(r, joined, left_size + right_size)};
        if (m.left == BRG_TOKEN_NONE || m.right == BRG_TOKEN_NONE || m.result == BRG_TOKEN_NONE)
            rc = damaged(r, "a piece is not in the vocabulary of the merge", shown);
        else
            rc = brg_tokenizer_join(r->t, m);
    }
    free(joined);
    return rc;
}

/* The number of a mark by its text, BRG_TOKEN_NONE if there is none. */
static uint32_t mark(const struct brg_tokenizer *t, const char *text) {
    for (uint32_t i = 0; text != NULL && i < t->special_count; i++) {
        const struct brg_token_slot *s = &t->tokens[t->specials[i]];
        if (s->size == strlen(text) && memcmp(t->bytes + s->offset, text, s->size) == 0)
            return t->specials[i];
    }
    return BRG_TOKEN_NONE;
}

static uint32_t first_mark(const struct brg_tokenizer *t, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (mark(t, names[i]) != BRG_TOKEN_NONE) return mark(t, names[i]);
    return BRG_TOKEN_NONE;
}

/* What a TemplateProcessing puts before the text; NULL: nothing. */
static const char *template_start(const cJSON *post) {
    const cJSON *list = brg_import_json_get(post, "processors");
    for (const cJSON *c = list != NULL ? list->child : NULL; c != NULL; c = c->next)
        if (is_type(c, "TemplateProcessing")) post = c;
    const cJSON *single = brg_import_json_get(post, "single");
    if (!is_type(post, "TemplateProcessing") || !cJSON_IsArray(single)) return NULL;
    const cJSON *id = brg_import_json_get(brg_import_json_get(single->child, "SpecialToken"), "id");
    return cJSON_IsString(id) ? id->valuestring : NULL;
}

/* tokenizer.json has no fixed place for these; the names are those that published models use. */
static void find_marks(struct reader *r) {
    static const char *const begins[] = {"<|startoftext|>", "<|begin_of_text|>", "<s>",
                                         "<|endoftext|>"};
    static const char *const ends[] = {"<|endoftext|>", "<|end_of_text|>", "</s>"};
    static const char *const unknowns[] = {"<|unk|>", "<unk>"};
    struct brg_tokenizer_info *info = &r->t->info;
    const char *start = template_start(brg_import_json_get(r->root, "post_processor"));
    info->bos = mark(r->t, start);
    info->add_bos = info->bos != BRG_TOKEN_NONE;
    if (!info->add_bos) info->bos = first_mark(r->t, begins, sizeof begins / sizeof begins[0]);
    info->eos = first_mark(r->t, ends, sizeof ends / sizeof ends[0]);
    info->unk = first_mark(r->t, unknowns, sizeof unknowns / sizeof unknowns[0]);
}

static int read_all(struct reader *r) {
    int rc = check_model(r);
    if (rc == BRG_OK) rc = read_pre_tokenizer(r);
    if (rc != BRG_OK) return rc;
    const cJSON *vocab = brg_import_json_get(r->model, "vocab");
    const cJSON *merges = brg_import_json_get(r->model, "merges");
    const cJSON *added = brg_import_json_get(r->root, "added_tokens");
    uint32_t count = 0;
    if (!cJSON_IsObject(vocab)) return damaged(r, "it lacks", "model.vocab");
    if (!cJSON_IsArray(merges)) return damaged(r, "it lacks", "model.merges");
    if (added != NULL && !cJSON_IsArray(added)) return damaged(r, "not a list is", "added_tokens");
    rc = count_vocab(r, vocab, added, &count);
    if (rc != BRG_OK) return rc;
    struct brg_tokenizer *sized = NULL;
    rc = brg_tokenizer_new(r->t->info.kind, count, &sized);
    if (rc != BRG_OK) return rc;
    sized->ignore_merges = r->t->ignore_merges;
    brg_tokenizer_destroy(r->t);
    r->t = sized;
    rc = put_vocab(r, vocab);
    if (rc == BRG_OK) rc = put_added(r, added);
    if (rc == BRG_OK) rc = brg_tokenizer_index(r->t);
    if (rc == BRG_OK) rc = put_merges(r, merges);
    if (rc == BRG_OK) rc = brg_tokenizer_finish(r->t, r->j.name, r->j.why);
    if (rc == BRG_OK) find_marks(r);
    return rc;
}

int brg_tokenizer_parse_json(const char *name, const uint8_t *text, size_t size_bytes,
                             struct brg_tokenizer **out, struct brg_why *why) {
    struct reader r = {.j = {name, why}};
    cJSON *root = NULL;
    *out = NULL;
    int rc = brg_import_json_parse(&r.j, text, size_bytes, BRG_TOKENIZER_JSON_MAX, &root);
    if (rc != BRG_OK) return rc;
    r.root = root;
    rc = brg_tokenizer_new(BRG_TOKENIZER_GPT2, 1, &r.t);
    if (rc == BRG_OK) rc = read_all(&r);
    cJSON_Delete(root);
    free(r.bytes);
    if (rc != BRG_OK) {
        brg_tokenizer_destroy(r.t);
        return rc == BRG_ENOMEM ? brg_why_set(why, rc, "%s: out of memory", name) : rc;
    }
    *out = r.t;
    return BRG_OK;
}

static int open_file(const char *path, struct brg_tokenizer **out, struct brg_why *why) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    int rc = brg_file_read(path, BRG_TOKENIZER_JSON_MAX, &bytes, &size);
    if (rc != BRG_OK)
        return brg_why_set(why, rc, "%s: cannot be read (%s); check the path", path,
                           strerror(errno));
    rc = size > 0 && bytes[0] == '{' ? brg_tokenizer_parse_json(path, bytes, size, out, why)
                                     : brg_tokenizer_parse_bin(path, bytes, size, out, why);
    free(bytes);
    return rc;
}

int brg_tokenizer_open(const char *path, struct brg_tokenizer **out, struct brg_why *why) {
    static const char *const names[] = {"tokenizer.json", "tokenizer.bin"};
    char inner[BRG_FILE_PATH_BYTES];
    struct stat st;
    *out = NULL;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) return open_file(path, out, why);
    for (size_t i = 0; i < 2; i++) {
        const int n = snprintf(inner, sizeof inner, "%s/%s", path, names[i]);
        if (n > 0 && (size_t)n < sizeof inner && stat(inner, &st) == 0)
            return open_file(inner, out, why);
    }
    return brg_why_set(why, BRG_ENOENT,
                       "%s: the folder holds no tokenizer.json and no tokenizer.bin; name the file",
                       path);
}
