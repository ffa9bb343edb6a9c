#!/bin/sh
# self_test.sh ROOT CLANG_FORMAT SHELLCHECK - the tidy tests themselves: each must pass on a small clean tree
# and fail, with the words given, on the same tree with one fault in it.
set -eu
export LC_ALL=C
root=$1
clang_format=$2
shellcheck=$3
tidy=$root/tests/tidy
cases=0
bad=0
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

lines() { # N: N lines of a function body
    awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) print "    x++;" }'
}

clean_tree() {
    rm -rf "${tree:?}"/*
    for folder in base kernels coding model recovery coordinator/core coordinator/shell \
        worker/core worker/shell proto cli bench tests/unit tests/tidy .ci cmake docker; do
        mkdir -p "$tree/$folder"
    done
    cp "$root/.clang-format" "$tree/"
    cp "$tidy/symbols_allowed.txt" "$tree/tests/tidy/"
    : >"$tree/tests/tidy/size_exceptions.txt"
    echo '[]' >"$tree/compile_commands.json"
    printf '%s\n' '## What happens when' '| a fault | it is cured | `code_fault__is_cured` |' \
        >"$tree/README.md"
    printf 'static void code_fault__is_cured(void **state) {\n    (void)state;\n}\n' \
        >"$tree/tests/unit/test_cure.c"
    printf '#!/bin/sh\nexit 0\n' | tee "$tree/check" >"$tree/demo"
    printf 'int brg_base_one(void);\n' >"$tree/base/base.h"
    printf '#include "base/base.h"\n\nint brg_base_one(void) {\n    return 1;\n}\n' >"$tree/base/base.c"
    cat >"$tree/coding/code.c" <<'END'
#include <math.h>

#include "base/base.h"

int brg_code_one(void);
double brg_code_root(double x);

int brg_code_one(void) {
    return brg_base_one();
}

double brg_code_root(double x) {
    return log(x);
}
END
    printf 'int unused(void) {\n    int x = 0;\n%s\n    return x;\n}\n' "$(lines 60)" \
        >"$tree/cli/main.c"
}

# archive: builds what the symbol test looks at, as CMake names it.
archive() {
    for folder in base coding coordinator/core; do
        rm -f "$tree/$folder"/*.o "$tree/$folder"/*.a
        for source in "$tree/$folder"/*.c; do
            [ -f "$source" ] || continue
            cc -w -I"$tree" -c -o "$source.o" "$source"
            ar rcs "$tree/$folder/libbrg_$(echo "$folder" | tr / _).a" "$source.o"
        done
    done
}

# passes TEST ARGUMENT...: it must accept the clean tree.
passes() {
    cases=$((cases + 1))
    if ! output=$("$tidy/$1" "$tree" ${2+"$2"} 2>&1); then
        printf '%s refuses a clean tree:\n%s\n' "$1" "$output"
        bad=1
    fi
}

# refuses WORDS TEST ARGUMENT...: it must fail and say WORDS; then the tree is clean again.
refuses() {
    words=$1
    shift
    cases=$((cases + 1))
    if output=$("$tidy/$1" "$tree" ${2+"$2"} 2>&1); then
        printf '%s does not see: %s\n' "$1" "$words"
        bad=1
    elif ! printf '%s' "$output" | grep -qF -e "$words"; then
        printf '%s fails without saying "%s", it says:\n%s\n' "$1" "$words" "$output"
        bad=1
    fi
    clean_tree
}

clean_tree
passes sizes.sh
passes includes.sh
passes words.sh "$tree"
archive
passes symbols.sh "$tree"
passes promises.sh
passes format.sh "$clang_format"
passes shell.sh "$shellcheck"

long='int unused(void) {\n    int x = 0;\n%s\n    return x;\n}\n'
# shellcheck disable=SC2059 # the format is the text of a function
{
    printf "$long" "$(lines 67)" >"$tree/cli/main.c"
    refuses 'function cli/main.c:unused: 71, the limit is 70' sizes.sh
    printf "$long" "$(lines 117)" >"$tree/kernels/one.c"
    refuses 'function kernels/one.c:unused: 121, the limit is 120' sizes.sh
    printf "$long" "$(lines 67)" >"$tree/cli/main.c"
    echo 'function cli/main.c:unused 71' >"$tree/tests/tidy/size_exceptions.txt"
    refuses 'at most 0 are allowed' sizes.sh
}
awk 'BEGIN { for (i = 0; i < 801; i++) print "int x;" }' >"$tree/cli/main.c"
refuses 'file cli/main.c: 801, the limit is 800' sizes.sh
awk 'BEGIN { printf "// "; for (i = 0; i < 98; i++) printf "x"; print "" }' >"$tree/cli/main.c"
refuses 'line cli/main.c:1: 101, the limit is 100' sizes.sh

echo '#include "model/model.h"' >"$tree/coding/code.c"
refuses 'coding may not include model' includes.sh
echo '#include "coding/code.h"' >"$tree/kernels/one.c"
refuses 'kernels may not include coding' includes.sh
echo '#include "code.h"' >"$tree/coding/code.c"
refuses 'not written from the root' includes.sh
echo '#include <time.h>' >"$tree/coordinator/core/round.c"
refuses '<time.h> in coordinator/core, which is pure' includes.sh
echo '#include <pthread.h>' >"$tree/coding/code.c"
refuses '<pthread.h> in coding, which is pure' includes.sh

echo 'long time(long *); long brg_now(void) { return time(0); }' >"$tree/coordinator/core/now.c"
archive
refuses '  time' symbols.sh "$tree"
echo 'double log(double); double brg_x(double x) { return log(x); }' >"$tree/coordinator/core/f.c"
archive
refuses '  log' symbols.sh "$tree"
echo 'int brg_log_write(void) { return 0; }' >"$tree/base/log.c"
echo 'int brg_log_write(void); int brg_x(void) { return brg_log_write(); }' >"$tree/coding/x.c"
archive
refuses '  brg_log_write' symbols.sh "$tree"
echo 'int helper(void) { return 0; }' >"$tree/base/base.c"
archive
refuses '  helper' symbols.sh "$tree"
rm -f "$tree"/*/*.a "$tree"/*/*/*.a
refuses 'build it first' symbols.sh "$tree"

echo '/* TODO: more */' >"$tree/cli/main.c"
refuses 'belong into an issue' words.sh "$tree"
echo '#include <assert.h>' >"$tree/cli/main.c"
refuses 'use BRG_ASSERT' words.sh "$tree"
echo 'static void code_works(void **state) {' >"$tree/tests/unit/test_code.c"
refuses 'a unit test is named' words.sh "$tree"
echo 'gcc -O2 -DNDEBUG -c x.c' >"$tree/compile_commands.json"
refuses 'would switch assertions off' words.sh "$tree"
printf 'int f(void) {\n\treturn 0;\n}\n' >"$tree/cli/main.c"
refuses 'tabs' words.sh "$tree"

rm "$tree/tests/unit/test_cure.c"
refuses 'names the test code_fault__is_cured, which is not there' promises.sh
echo '| a fault | it is cured | |' >>"$tree/README.md"
refuses 'a row names no test' promises.sh
echo 'a text' >"$tree/README.md"
refuses "no table 'What happens when'" promises.sh

echo 'int  unused ;' >"$tree/cli/main.c"
refuses 'clang-format-violations' format.sh "$clang_format"
printf '#!/bin/sh\nrm $1\n' >"$tree/tests/unit/run.sh"
refuses 'SC2086' shell.sh "$shellcheck"

echo "$cases cases"
exit $bad
