#!/bin/sh
# run.sh [NAME ...] - plants the deliberate bugs of this folder one at a time into a copy of the tree,
# builds what their tests need and runs these. A bug that no test notices is a missing test.
#
#   tests/mutations/run.sh                  all of them, some minutes
#   tests/mutations/run.sh apply-twice      one, and what the tests said
#
# NAME.patch begins with two lines: "What: ..." says the bug, "Tests: ..." which tests of ctest are
# asked. All of them are asked, so that the table shows every test that notices. docs/MUTATIONS.md
# has the table as it was last seen. Exit status: 0 all noticed; 1 otherwise.
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
seconds_max=180 # for one test

work=$(mktemp -d /tmp/brg-mutations.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# The tree as it is now, with what is not committed yet, but nothing that is built.
mkdir "$work/tree"
cd "$root"
git ls-files -z --cached --others --exclude-standard -- . ':!build' ':!demo-out' |
    xargs -0 sh -c 'for f; do [ ! -f "$f" ] || cp --parents -- "$f" "$0"; done' "$work/tree"
cmake -S "$work/tree" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Debug >"$work/cmake.log" ||
    { cat "$work/cmake.log"; exit 1; }

# Integration tests look there for their data; see cmake/setup.sh.
if [ -d "$root/build/data" ]; then mkdir "$work/tree/build" && ln -s "$root/build/data" "$work/tree/build/data"; fi

# field WHAT PATCH: the text of one of its two first lines.
field() { sed -n "1,2s/^$1: //p" "$2"; }

# The program that ctest runs as this test.
target() {
    case $1 in
    sim.*) echo brigade_sim ;;
    unit.*) echo "$1" | tr . _ ;;
    integration.*) echo brigade ;;
    *) echo "$here: a test of another kind: $1" >&2; return 1 ;;
    esac
}

# build TEST ...
build() {
    targets=
    for test; do targets="$targets $(target "$test")"; done
    # shellcheck disable=SC2086 # names of targets hold no blanks
    ninja -C "$work/build" -j 2 $targets >"$work/build.log" 2>&1
}

# ask TEST: 0 where it passes; skipping is not passing.
ask() {
    ctest --test-dir "$work/build" --no-tests=error --timeout "$seconds_max" --output-on-failure \
        -R "^$(echo "$1" | sed 's/\./\\./g')\$" >"$work/test.log" 2>&1 || return 1
    ! grep -q 'Skipped' "$work/test.log"
}

# What a test says it saw: the name of a unit test that failed, an assertion, a sentence.
reason() {
    {
        grep -m 1 -oE '\[ *FAILED *\] [a-z0-9_]*__[a-z0-9_]*' "$work/test.log" ||
            grep -m 1 -oE "[^ ]*: assertion failed.*|runtime error.*|Timeout|FAILED \(line.*" \
                "$work/test.log" || true
    } | sed -E "s#$work/tree/##; s#.*FAILED *\] ##"
}

bad=0
names=$*
if [ $# -eq 0 ]; then
    for patch in "$here"/*.patch; do names="$names $(basename "$patch" .patch)"; done
fi

# Without a bug every test passes, or it notices nothing.
tests=$(for name in $names; do field Tests "$here/$name.patch"; done | tr ' ' '\n' | sort -u)
# shellcheck disable=SC2086
build $tests || { tail -n 20 "$work/build.log"; exit 1; }
for test in $tests; do
    ask "$test" || { echo "$test fails without a bug"; tail -n 20 "$work/test.log"; exit 1; }
done

for name in $names; do
    patch=$here/$name.patch
    tests=$(field Tests "$patch")
    echo "$name: $(field What "$patch")"
    if ! patch -s -p1 -d "$work/tree" --no-backup-if-mismatch -r - <"$patch" >"$work/patch.log"; then
        echo "    does not fit the source any more: make it anew"
        cat "$work/patch.log"
        exit 1 # the tree may be half changed
    fi
    caught=0
    # shellcheck disable=SC2086
    if build $tests; then
        for test in $tests; do
            if ask "$test"; then continue; fi
            caught=$((caught + 1))
            echo "    noticed by $test: $(reason)"
        done
    else
        tail -n 20 "$work/build.log"
    fi
    [ "$caught" -gt 0 ] || { echo "    NOT NOTICED by $tests"; bad=1; }
    patch -s -R -p1 -d "$work/tree" --no-backup-if-mismatch <"$patch"
    grep -q "^| $name |" "$root/docs/MUTATIONS.md" 2>/dev/null ||
        { echo "    is not in docs/MUTATIONS.md"; bad=1; }
done
exit $bad
