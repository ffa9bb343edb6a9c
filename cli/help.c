#include "cli/cli.h"

#include <string.h>

#define HELP_COLUMNS 80u
#define FLAG_INDENT 10u

static void put_wrapped(const char *text, uint32_t indent, FILE *out) {
    uint32_t column = 0;
    while (*text != 0) {
        size_t word = strcspn(text, " ");
        if (column > 0 && column + 1 + word > HELP_COLUMNS) {
            fputc('\n', out);
            column = 0;
        }
        if (column == 0) {
            fprintf(out, "%*s", (int)indent, "");
            column = indent;
        } else {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, word, out);
        column += (uint32_t)word;
        text += word;
        while (*text == ' ') text++;
    }
    fputc('\n', out);
}

/* Each line with an indent, empty ones without. */
static void put_lines(const char *lines, FILE *out) {
    while (*lines != 0) {
        size_t size = strcspn(lines, "\n");
        if (size > 0) fprintf(out, "    %.*s", (int)size, lines);
        fputc('\n', out);
        lines += size + (lines[size] == '\n');
    }
}

static void put_flag(const struct brg_cli_flag *f, FILE *out) {
    char variable[BRG_OPTION_ENV_BYTES], tail[192] = "";
    size_t used = 0;
    fprintf(out, "    --%s%s%s\n", f->name, f->value != NULL ? " " : "",
            f->value != NULL ? f->value : "");
    if (f->fallback != NULL) {
        used += (size_t)snprintf(tail + used, sizeof tail - used, " Default: %s.", f->fallback);
    }
    if ((f->traits & BRG_CLI_ENV) != 0 && used < sizeof tail) {
        used += (size_t)snprintf(tail + used, sizeof tail - used, " Environment: %s.",
                                 brg_option_env_name(f->name, variable));
    }
    if ((f->traits & BRG_CLI_MANY) != 0 && used < sizeof tail) {
        (void)snprintf(tail + used, sizeof tail - used, " May be given more than once.");
    }
    char text[1024];
    (void)snprintf(text, sizeof text, "%s%s", f->text, tail);
    put_wrapped(text, FLAG_INDENT, out);
}

void brg_cli_help(const struct brg_cli_verb *verb, FILE *out) {
    fprintf(out, "NAME\n    brigade %s - %s\n\nSYNOPSIS\n    brigade %s", verb->name, verb->summary,
            verb->name);
    if (verb->flag_count > 0) fputs(" [flags]", out);
    if (verb->arguments[0] != 0) fprintf(out, " %s", verb->arguments);
    fputs("\n\nDESCRIPTION\n", out);
    put_lines(verb->about, out);
    fputs("\nFLAGS\n", out);
    for (uint32_t i = 0; i < verb->flag_count; i++) put_flag(&verb->flags[i], out);
    fputs("    --help\n", out);
    put_wrapped("This page.", FLAG_INDENT, out);
    fputs("\nEXAMPLES\n", out);
    put_lines(verb->examples, out);
    fputs("\nEXIT CODES\n    0 done; what else there is: 'brigade help exit-codes'\n", out);
}

void brg_cli_put(FILE *out, const char *text) {
    for (; *text != 0; text++) {
        unsigned char c = (unsigned char)*text;
        fputc(c < ' ' || c == 0x7f ? '?' : c, out);
    }
}

static void put_words(const char *parent, const char *about, const struct brg_cli_word *words,
                      uint32_t count, FILE *out) {
    fprintf(out, "SYNOPSIS\n    brigade %s WORD [flags] [arguments]\n\nDESCRIPTION\n", parent);
    put_lines(about, out);
    fputs("\nWORDS\n", out);
    for (uint32_t i = 0; i < count; i++) {
        fprintf(out, "    %-10s %s\n", words[i].name, words[i].summary);
    }
    fprintf(out, "\nEXAMPLES\n    $ brigade %s %s --help\n", parent, words[0].name);
}

int brg_cli_words(const char *parent, const char *about, const struct brg_cli_word *words,
                  uint32_t count, int argc, char **argv) {
    const char *names[16];
    BRG_ASSERT(count >= 1 && count <= sizeof names / sizeof names[0]);
    if (argc < 2) {
        put_words(parent, about, words, count, stderr);
        return BRG_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        put_words(parent, about, words, count, stdout);
        return BRG_EXIT_OK;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(argv[1], words[i].name) == 0) return words[i].run(argc - 1, argv + 1);
        names[i] = words[i].name;
    }
    if (argv[1][0] == '-') {
        fprintf(stderr,
                "brigade %s: the word comes before the flags: brigade %s WORD --flag. See "
                "'brigade %s --help'.\n",
                parent, parent, parent);
        return BRG_EXIT_USAGE;
    }
    const char *near = brg_cli_closest(argv[1], names, count);
    fprintf(stderr, "brigade %s: there is no '", parent);
    brg_cli_put(stderr, argv[1]);
    if (near != NULL) fprintf(stderr, "'; did you mean 'brigade %s %s'?\n", parent, near);
    if (near == NULL) fprintf(stderr, "'. See 'brigade %s --help'.\n", parent);
    return BRG_EXIT_USAGE;
}
