/* tokenizer_split.c - where words end: the patterns of tokenizer_private.h as plain code.
 *
 * Each function takes the alternatives of its pattern in order and returns the bytes of the first
 * that fits, or 0. Only as much text is looked at as the word takes, and one character more. */
#include "model/tokenizer_private.h"

#include "model/unicode.h"

/* A place in the text, and what stands there. */
struct place {
    const uint8_t *text;
    size_t size, at;
    uint32_t point, bytes, class_of; /* bytes 0: the end */
};

static void look(struct place *p) {
    p->bytes = 0;
    p->point = 0;
    p->class_of = BRG_UNICODE_OTHER;
    if (p->at >= p->size) return;
    p->point = brg_unicode_take(p->text + p->at, p->size - p->at, &p->bytes);
    p->class_of = brg_unicode_class_of(p->point);
}

static void next(struct place *p) {
    p->at += p->bytes;
    look(p);
}

static int is_end(const struct place *p) {
    return p->bytes == 0;
}

static int is_line_end(const struct place *p) {
    return !is_end(p) && (p->point == '\r' || p->point == '\n');
}

static int has_class(const struct place *p, uint32_t class_of) {
    return !is_end(p) && p->class_of == class_of;
}

static void skip_class(struct place *p, uint32_t class_of) {
    while (has_class(p, class_of)) next(p);
}

/* 's 't 're 've 'm 'll 'd */
static size_t contraction(const uint8_t *text, size_t size, uint8_t fold) {
    if (size < 2 || text[0] != '\'') return 0;
    const uint8_t a = text[1] | fold, b = size > 2 ? (uint8_t)(text[2] | fold) : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
    return 0;
}

/* \s+(?!\S) | \s+ : all blanks at the end of the text, else all but the last, else the only one. */
static size_t blanks(struct place p) {
    size_t last = p.at;
    const size_t first = p.at;
    while (has_class(&p, BRG_UNICODE_SPACE)) {
        last = p.at;
        next(&p);
    }
    return is_end(&p) || last == first ? p.at - first : last - first;
}

static size_t split_gpt2(const uint8_t *text, size_t size) {
    struct place p = {.text = text, .size = size};
    const size_t short_form = contraction(text, size, 0);
    if (short_form > 0) return short_form;
    look(&p);
    const struct place start = p;
    if (p.point == ' ') next(&p);
    if (!is_end(&p) && p.class_of != BRG_UNICODE_SPACE) {
        skip_class(&p, p.class_of);
        return p.at;
    }
    return blanks(start);
}

/* \s*[\r\n]+ : up to the last line end among the blanks. */
static size_t line_ends(struct place p) {
    size_t end = 0;
    while (has_class(&p, BRG_UNICODE_SPACE)) {
        const int ends = is_line_end(&p);
        next(&p);
        if (ends) end = p.at;
    }
    return end;
}

static size_t split_llama3(const uint8_t *text, size_t size, uint32_t digits_max) {
    struct place p = {.text = text, .size = size};
    const size_t short_form = contraction(text, size, 0x20);
    if (short_form > 0) return short_form;
    look(&p);
    const struct place start = p;
    if (p.class_of != BRG_UNICODE_LETTER && p.class_of != BRG_UNICODE_NUMBER && !is_line_end(&p))
        next(&p);
    if (has_class(&p, BRG_UNICODE_LETTER)) {
        skip_class(&p, BRG_UNICODE_LETTER);
        return p.at;
    }
    p = start;
    for (uint32_t i = 0; i < digits_max && has_class(&p, BRG_UNICODE_NUMBER); i++) next(&p);
    if (p.at > 0) return p.at;
    if (p.point == ' ') next(&p);
    if (has_class(&p, BRG_UNICODE_OTHER)) {
        skip_class(&p, BRG_UNICODE_OTHER);
        while (is_line_end(&p)) next(&p);
        return p.at;
    }
    const size_t lines = line_ends(start);
    return lines > 0 ? lines : blanks(start);
}

size_t brg_tokenizer_split(uint32_t kind, const uint8_t *text, size_t size) {
    BRG_ASSERT(size > 0);
    size_t word = size;
    if (kind == BRG_TOKENIZER_GPT2) word = split_gpt2(text, size);
    if (kind == BRG_TOKENIZER_LLAMA3) word = split_llama3(text, size, 3);
    if (kind == BRG_TOKENIZER_QWEN2) word = split_llama3(text, size, 1);
    BRG_ASSERT(word > 0 && word <= size);
    return word;
}
