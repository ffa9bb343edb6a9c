#!/bin/sh
# promises.sh ROOT - every test that README.md's table "What happens when" names is there, and every
# row names one: a promise is in the table only as long as something would fail without it.
set -eu
export LC_ALL=C
cd "$1"
bad=0
rows=$(sed -n '/^## What happens when/,/^## Training/p' README.md | grep '^| [^w-]' || true)
[ -n "$rows" ] || {
    echo "README.md has no table 'What happens when'"
    exit 1
}

known() {
    case $1 in
    integration.*) [ -f "tests/integration/test_${1#*.}.sh" ] ;;
    sim.*) grep -qF "add_test(NAME $1 " tests/sim/CMakeLists.txt ;;
    *) grep -rqF "static void $1(void **" tests/unit ;; # unused, it would not compile
    esac
}

unproved=$(echo "$rows" | grep -vE '`[a-z0-9_.]+`[^`]*\|$' || true)
if [ -n "$unproved" ]; then
    printf 'README.md: a row names no test:\n%s\n' "$unproved"
    bad=1
fi
for name in $(echo "$rows" | awk -F'|' '{ print $(NF - 1) }' | tr -d '`,'); do
    known "$name" || {
        echo "README.md names the test $name, which is not there"
        bad=1
    }
done
exit $bad
