/* table.h - rows and columns for a terminal: as wide as the longest cell, two blanks between.
 *
 *   WORKER  STATE     DONE        headings; one that begins with '>' is set to the right
 *   w1      active      12
 *
 * One thread. Text from outside is made harmless as by brg_cli_put. Width counts characters (UTF-8
 * code points), not bytes. */
#ifndef BRG_CLI_TABLE_H
#define BRG_CLI_TABLE_H

#include "base/base.h"

#define BRG_TABLE_COLUMNS_MAX 16u
#define BRG_TABLE_CELLS_MAX (1u << 20) /* what a reply of 900 KiB could ever hold */

struct brg_table {
    uint32_t columns, count, room; /* cells there are, headings included, and fit */
    uint32_t failed;               /* 1: out of memory; the table is cut */
    char **cells;
};

/* brg_table_init - a table with these headings. shape: headings [columns]
 * own: end with brg_table_fini */
void brg_table_init(struct brg_table *t, const char *const *headings, uint32_t columns);
void brg_table_fini(struct brg_table *t);

/* brg_table_cell - the next cell, row by row. What does not fit into memory is left out. */
BRG_PRINTF(2, 3) void brg_table_cell(struct brg_table *t, const char *format, ...);

/* brg_table_number - the next cell with `digits` decimals; "-" for NaN. */
void brg_table_number(struct brg_table *t, double number, int digits);

/* brg_table_print - all rows that are whole, each with `indent` blanks before. */
void brg_table_print(const struct brg_table *t, uint32_t indent, FILE *out);

#endif
