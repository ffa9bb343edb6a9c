#include "cli/table.h"

#include "cli/cli.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#define CELL_BYTES 512u

static void add(struct brg_table *t, const char *text) {
    if (t->failed != 0) return;
    if (t->count == t->room) {
        uint32_t room = t->room == 0 ? 64 : t->room * 2;
        char **cells = room > BRG_TABLE_CELLS_MAX ? NULL : realloc(t->cells, room * sizeof *cells);
        if (cells == NULL) {
            t->failed = 1;
            return;
        }
        t->cells = cells;
        t->room = room;
    }
    t->cells[t->count] = strdup(text);
    if (t->cells[t->count] == NULL) {
        t->failed = 1;
        return;
    }
    t->count++;
}

void brg_table_init(struct brg_table *t, const char *const *headings, uint32_t columns) {
    BRG_ASSERT(columns >= 1 && columns <= BRG_TABLE_COLUMNS_MAX);
    memset(t, 0, sizeof *t);
    t->columns = columns;
    for (uint32_t i = 0; i < columns; i++) add(t, headings[i]);
}

void brg_table_fini(struct brg_table *t) {
    for (uint32_t i = 0; i < t->count; i++) free(t->cells[i]);
    free(t->cells);
    memset(t, 0, sizeof *t);
}

void brg_table_cell(struct brg_table *t, const char *format, ...) {
    char text[CELL_BYTES];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    add(t, text);
}

void brg_table_number(struct brg_table *t, double number, int digits) {
    if (isnan(number)) {
        add(t, "-");
    } else {
        brg_table_cell(t, "%.*f", digits, number);
    }
}

static uint32_t width_of(const char *text) {
    uint32_t width = 0;
    for (; *text != 0; text++) width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

void brg_table_print(const struct brg_table *t, uint32_t indent, FILE *out) {
    uint32_t width[BRG_TABLE_COLUMNS_MAX] = {0}, rows = t->count / t->columns;

    for (uint32_t i = 0; i < rows * t->columns; i++) {
        uint32_t column = i % t->columns, is_right = i < t->columns && t->cells[i][0] == '>';
        uint32_t cell = width_of(t->cells[i]) - is_right;
        if (cell > width[column]) width[column] = cell;
    }
    for (uint32_t row = 0; row < rows; row++) {
        char **cells = &t->cells[row * t->columns];
        uint32_t used = t->columns; /* blanks at the end of a line are left out */
        while (used > 1 && cells[used - 1][0] == 0) used--;
        fprintf(out, "%*s", (int)indent, "");
        for (uint32_t column = 0; column < used; column++) {
            const char *cell = cells[column];
            uint32_t is_right = t->cells[column][0] == '>';
            if (row == 0) cell += is_right;
            int gap = (int)(width[column] - width_of(cell));
            uint32_t is_last = column + 1 == used;
            if (is_right) fprintf(out, "%*s", gap, "");
            brg_cli_put(out, cell);
            if (!is_right && !is_last) fprintf(out, "%*s", gap, "");
            if (!is_last) fputs("  ", out);
        }
        fputc('\n', out);
    }
}
