#!/bin/sh
# symbols.sh ROOT BUILD - pure archives use only the symbols of symbols_allowed.txt; every symbol
# that an archive of ours exports starts with brg_ (brigade__ in generated code).
set -eu
export LC_ALL=C
root=$1
build=$2
allowed=$root/tests/tidy/symbols_allowed.txt
bad=0
checked=0

archive_of() { echo "$build/$1/libbrg_$(echo "$1" | tr / _).a"; }

# Objects of base/ that compute and do nothing else; assertions in base.c may print and abort, and
# why.c writes a sentence into the caller's buffer.
pure_base='^(arena|base|digest|prng|why)\.c\.o$'
base_symbols() {
    nm -A --defined-only --extern-only "$(archive_of base)" 2>/dev/null |
        awk -v pure="$pure_base" '
            { n = split($1, part, ":"); if (part[n - 1] ~ pure) print $NF }'
}

for folder in coding recovery coordinator/core worker/core; do
    archive=$(archive_of "$folder")
    [ -f "$archive" ] || continue # no source in that folder yet
    checked=$((checked + 1))
    own=$(for pure in coding recovery coordinator/core worker/core; do
        [ ! -f "$(archive_of "$pure")" ] || nm --defined-only --extern-only "$(archive_of "$pure")"
    done | awk 'NF == 3 { print $3 }')
    faults=$({ # what it needs, less what pure folders define, less what is allowed
        echo "$own" | sed 's/^/has /'
        base_symbols | sed 's/^/has /'
        sed -e '/^#/d' -e '/^$/d' "$allowed" | sed 's/^/may /'
        nm -u "$archive" | awk '$1 == "U" || $1 == "w" { print "needs", $2 }'
    } | awk -v folder="$folder" '
        $1 == "has" { known[$2] = 1 }
        $1 == "may" && ($2 == "any" || $2 == folder) { known[$3] = 1 }
        $1 == "needs" && !($2 in known) && !seen[$2]++ { print "  " $2 }')
    if [ -n "$faults" ]; then
        printf '%s/ is pure and may not use:\n%s\n' "$folder" "$faults"
        bad=1
    fi
done

for archive in $(find "$build" -name 'libbrg_*.a' | sort); do
    checked=$((checked + 1))
    faults=$(nm --defined-only --extern-only "$archive" |
        awk 'NF == 3 && $3 !~ /^(brg_|brigade__|_binary_)/ { print "  " $3 }')
    if [ -n "$faults" ]; then
        printf '%s exports names without the prefix brg_:\n%s\n' "$archive" "$faults"
        bad=1
    fi
done

if [ "$checked" -eq 0 ]; then
    echo "$build holds no archive libbrg_*.a: build it first"
    bad=1
fi
exit $bad
