#include "model/prepare_json.h"

#include <inttypes.h>

/* Length of the UTF-8 sequence at `s` (Unicode 15, table 3-7), 0 where there is none. */
static size_t utf8_length(const unsigned char *s) {
    unsigned char low = 0x80, high = 0xBF;
    size_t n = 0;
    if (s[0] < 0x80) return 1;
    if (s[0] >= 0xC2 && s[0] <= 0xDF) n = 2;
    if (s[0] >= 0xE0 && s[0] <= 0xEF) n = 3;
    if (s[0] >= 0xF0 && s[0] <= 0xF4) n = 4;
    if (s[0] == 0xE0) low = 0xA0;  /* no longer form than needed */
    if (s[0] == 0xED) high = 0x9F; /* no surrogates */
    if (s[0] == 0xF0) low = 0x90;
    if (s[0] == 0xF4) high = 0x8F; /* up to U+10FFFF */
    for (size_t i = 1; i < n; i++) {
        if (s[i] < low || s[i] > high) return 0; /* the closing NUL too */
        low = 0x80;
        high = 0xBF;
    }
    return n;
}

void brg_prepare_json_string(FILE *out, const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    (void)fputc('"', out);
    while (*s != '\0') {
        const size_t n = utf8_length(s);
        if (n == 0)
            (void)fputs("\\ufffd", out);
        else if (*s == '"' || *s == '\\')
            (void)fprintf(out, "\\%c", *s);
        else if (*s < 0x20 || *s == 0x7f)
            (void)fprintf(out, "\\u%04x", *s);
        else
            (void)fwrite(s, 1, n, out);
        s += n == 0 ? 1 : n;
    }
    (void)fputc('"', out);
}

void brg_prepare_json_files(FILE *out, const char *key, const struct brg_prepare_file *files,
                            uint32_t count) {
    char hex[BRG_DIGEST_HEX_BYTES];
    (void)fprintf(out, "  \"%s\": [", key);
    for (uint32_t i = 0; i < count; i++) {
        (void)fputs(i == 0 ? "\n    {\"path\": " : ",\n    {\"path\": ", out);
        brg_prepare_json_string(out, files[i].path);
        if (files[i].role != NULL) (void)fprintf(out, ", \"role\": \"%s\"", files[i].role);
        (void)fprintf(out, ", \"bytes\": %" PRIu64 ", \"blake2b_256\": \"%s\"}", files[i].bytes,
                      brg_digest_hex(&files[i].digest, hex));
    }
    (void)fputs("\n  ]", out);
}
