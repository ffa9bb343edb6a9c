#!/bin/sh
# includes.sh ROOT - the include order of docs/ARCHITECTURE.md: a folder includes its own headers
# and those of folders above it in the list; pure folders include no header that does anything but
# compute.
set -eu
export LC_ALL=C
root=$1
cd "$root"

find base kernels coding model recovery coordinator worker proto cli \
    \( -name '*.c' -o -name '*.h' -o -name '*.cu' \) | sort |
    xargs awk '
    function folder_of(path,   folder) {
        folder = path
        sub(/\/[^\/]*$/, "", folder)
        sub(/^kernels\/.*/, "kernels", folder)
        return folder
    }
    function fault(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; bad = 1 }
    BEGIN {
        rank["base"] = 0
        rank["kernels"] = 1; rank["coding"] = 1
        rank["model"] = 2; rank["recovery"] = 2
        rank["coordinator/core"] = 3; rank["worker/core"] = 3
        rank["proto"] = 4
        rank["coordinator/shell"] = 5; rank["worker/shell"] = 5
        rank["cli"] = 6
        # Freestanding headers, and what arithmetic needs where numbers are worked on.
        split("float.h inttypes.h limits.h stdbool.h stddef.h stdint.h string.h", list, " ")
        for (i in list) core[list[i]] = 1
        split("math.h stdio.h stdlib.h", list, " ")
        for (i in list) numeric[list[i]] = 1
    }
    FNR == 1 { own = folder_of(FILENAME) }
    /^[ \t]*#[ \t]*include[ \t]*"/ {
        split($0, part, "\"")
        header = part[2]
        target = folder_of(header)
        if (!(target in rank))
            fault("\"" header "\" is not written from the root of the tree, as \"folder/name.h\"")
        else if (target != own && rank[target] >= rank[own])
            fault(own " may not include " target ": only folders above it in the list")
    }
    /^[ \t]*#[ \t]*include[ \t]*</ {
        header = $0; sub(/^[^<]*</, "", header); sub(/>.*/, "", header)
        if (own !~ /^(coding|recovery|coordinator\/core|worker\/core)$/) next
        if (header in core || (own == "coding" && header in numeric)) next
        fault("<" header "> in " own ", which is pure: no I/O, clock, thread or allocation there")
    }
    END { exit bad }'
