#!/bin/sh
# sizes.sh ROOT - the size ratchet: functions of at most 70 lines (120 in kernels/), files of at
# most 800 lines, lines of at most 100 columns.
#
# What is larger must stand in size_exceptions.txt with its exact size, so that an exception can
# only shrink; and the number of exceptions may not exceed exceptions_max, which only goes down.
set -eu
export LC_ALL=C
root=$1
exceptions=tests/tidy/size_exceptions.txt
exceptions_max=0
cd "$root"

count=$(grep -c -v -e '^#' -e '^$' "$exceptions" || true)
if [ "$count" -gt "$exceptions_max" ]; then
    echo "$exceptions: $count exceptions, at most $exceptions_max are allowed: make something smaller"
    exit 1
fi

# A function starts at a line in column 0 that holds a '(' and ends at the next '}' in column 0:
# clang-format guarantees both.
find base kernels coding model recovery coordinator worker proto cli bench tests \
    \( -name '*.c' -o -name '*.h' -o -name '*.cu' \) | sort |
    xargs awk -v exceptions="$exceptions" '
    function check(what, size, limit, advice) {
        if (what in allowed) {
            used[what] = 1
            if (size == allowed[what]) return
            printf "%s: %d, size_exceptions.txt says %d: %s\n", what, size, allowed[what],
                size < allowed[what] ? "lower the number or take the line out" : "make it smaller"
            bad = 1
        } else if (size > limit) {
            printf "%s: %d, the limit is %d: %s\n", what, size, limit, advice
            bad = 1
        }
    }
    function end_of_file() {
        if (file != "") check("file " file, lines, 800, "split the topic into two files")
    }
    BEGIN {
        while ((getline line < exceptions) > 0) {
            if (line ~ /^#/ || line == "") continue
            size = line; sub(/^.* /, "", size)
            what = line; sub(/ [0-9]+$/, "", what)
            allowed[what] = size + 0
        }
    }
    FNR == 1 { end_of_file(); file = FILENAME; start = 0; in_body = 0 }
    {
        lines = FNR
        text = $0
        gsub(/[\200-\277]/, "", text) # UTF-8 continuation bytes take no column
        check("line " FILENAME ":" FNR, length(text), 100, "break the line")
    }
    /^[A-Za-z_].*\(/ && !in_body && !/^(typedef|#)/ {
        start = FNR
        name = $0; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name)
    }
    start && !in_body && /\{$/ { in_body = 1 }
    start && !in_body && /;$/ { start = 0 }
    /^\}/ && in_body {
        check("function " FILENAME ":" name, FNR - start + 1, FILENAME ~ /^kernels\// ? 120 : 70,
              "split it where a sentence could name the part")
        start = 0; in_body = 0
    }
    END {
        end_of_file()
        for (what in allowed) {
            if (what in used) continue
            printf "%s stands in size_exceptions.txt and is no longer there: take it out\n", what
            bad = 1
        }
        exit bad
    }'
