#!/bin/sh
# words.sh ROOT BUILD - small rules that a reader forgets: assertions stay on, no work is left as
# a note in the code, unit tests are named <module>_<situation>__<what_must_hold>.
set -eu
export LC_ALL=C
root=$1
build=$2
cd "$root"
bad=0

sources=$(find base kernels coding model recovery coordinator worker proto cli bench tests \
    \( -name '*.c' -o -name '*.h' -o -name '*.cu' \) | sort)

# say WHAT LINES: a fault if there are lines.
say() {
    [ -n "$2" ] || return 0
    printf '%s:\n%s\n' "$1" "$2"
    bad=1
}

# shellcheck disable=SC2086 # file names of this tree hold no blanks
{
    say "notes of work left to do belong into an issue" \
        "$(grep -nE '(^|[^A-Za-z])(TODO|FIXME|XXX)([^A-Za-z]|$)' $sources || true)"
    say "assertions of libc vanish with NDEBUG: use BRG_ASSERT" \
        "$(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*<assert\.h>' $sources || true)"
    say "a unit test is named <module>_<situation>__<what_must_hold>" \
        "$(grep -nE '^static void [a-z0-9_]+\(void \*\*' $sources | grep -vE '[a-z0-9]__[a-z0-9]' || true)"
    say "tabs: indentation is four blanks" "$(grep -nE "$(printf '\t')" $sources || true)"
}
say "NDEBUG would switch assertions off" \
    "$(grep -o -e '-DNDEBUG' "$build/compile_commands.json" | head -n 1 || true)"
exit $bad
