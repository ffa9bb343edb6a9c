#!/usr/bin/env bash
# test_cli_help.sh - the help a newcomer meets: every verb has a page with an example and the flags,
# and whoever mistypes is told what was probably meant.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

verbs=(coordinator worker check validate submit runs status pause resume stop curve keygen events
    version 'token create' 'token list' 'token revoke' 'workers list' 'workers allow'
    'workers revoke' 'workers drain' 'data prepare' 'run export-delays' export eval generate
    'tokenizer train' 'tokenizer encode' 'tokenizer decode' 'sim rounds')

# says WORDS COMMAND...: the command must succeed and say WORDS on standard output.
says() {
    local words=$1 output
    shift
    output=$("$@" </dev/null) || fail "$*: exit status $?"
    grep -qF -e "$words" <<<"$output" || fail "$*: does not say '$words': $output"
}

overview=$("$BRIGADE")
expect_equal "brigade and brigade help" "$overview" "$("$BRIGADE" help)"
expect_equal "brigade and brigade --help" "$overview" "$("$BRIGADE" --help)"

# Whoever adds a verb adds it above.
listed=$(sed -nE 's/^    ([a-z]+) .*/\1/p' <<<"$overview" | sort)
expect_equal "the verbs of the list and of this test" "$listed" \
    "$(printf '%s\n' "${verbs[@]%% *}" | sort -u)"

for verb in "${verbs[@]}"; do
    read -r -a words <<<"$verb"
    grep -qE "^    ${words[0]} " <<<"$overview" || fail "the list lacks ${words[0]}"
    page=$("$BRIGADE" "${words[@]}" --help) || fail "$verb --help: exit status $?"
    for heading in NAME SYNOPSIS DESCRIPTION FLAGS EXAMPLES; do
        grep -qx "$heading" <<<"$page" || fail "$verb --help: no $heading"
    done
    examples=$(sed -n '/^EXAMPLES$/,$p' <<<"$page")
    grep -q "brigade ${words[0]}" <<<"$examples" ||
        fail "$verb --help: its examples do not call it"
    long=$(awk 'length($0) > 100' <<<"$page")
    expect_equal "$verb --help: long lines" "$long" ""
    expect_equal "help $verb" "$page" "$("$BRIGADE" help "${words[@]}")"
    expect_equal "$verb -h" "$page" "$("$BRIGADE" "${words[@]}" -h)"
    expect_fails 64 "there is no flag --no-such-flag" "$BRIGADE" "${words[@]}" --no-such-flag
done
for parent in token workers data run tokenizer sim; do
    says EXAMPLES "$BRIGADE" "$parent" --help
    expect_fails 64 "SYNOPSIS" "$BRIGADE" "$parent"
    expect_fails 64 "comes before the flags" "$BRIGADE" "$parent" --json
done

# Every code that a verb can leave with is explained.
codes=$("$BRIGADE" help exit-codes)
for code in 0 1 64 65 69 74 75 78; do
    grep -qE "^ +$code  " <<<"$codes" || fail "exit code $code is not explained"
done
says BRIGADE_STATE "$BRIGADE" help environment
says operator.key "$BRIGADE" help files

# Mistyped.
expect_fails 64 "did you mean 'submit'?" "$BRIGADE" submti run.yaml
expect_fails 64 "did you mean 'status'?" "$BRIGADE" stat
expect_fails 64 "did you mean 'exit-codes'?" "$BRIGADE" help exit-code
expect_fails 64 "there is no 'frobnicate'. 'brigade help'" "$BRIGADE" frobnicate
expect_fails 64 "did you mean 'brigade token create'?" "$BRIGADE" token crate
expect_fails 64 "did you mean --watch?" "$BRIGADE" status --wacth
expect_fails 64 "did you mean --announce?" "$BRIGADE" coordinator --anounce host:1
expect_fails 64 "flags have two dashes" "$BRIGADE" status -w
expect_fails 64 "--json takes no value" "$BRIGADE" runs --json=yes
expect_fails 64 "--state needs a DIR" "$BRIGADE" runs --state
expect_fails 64 "--state has an empty DIR" "$BRIGADE" runs --state ''
expect_fails 64 "--state is given twice" "$BRIGADE" runs --state a --state=b
expect_fails 64 "RUN.yaml is missing" "$BRIGADE" submit
expect_fails 64 "'b.yaml' is one argument too many" "$BRIGADE" submit a.yaml b.yaml
expect_fails 64 "takes no argument such as 'x'" "$BRIGADE" runs x

# What a terminal would obey does not reach it.
escaped=$("$BRIGADE" $'\e[2Jverb' 2>&1 || true)
grep -q $'\e' <<<"$escaped" && fail "an escape sequence came through"

says "brigade 0" "$BRIGADE" version
says "brigade 0" "$BRIGADE" --version
protocol=$(sed -nE 's/^#define BRG_PROTOCOL ([0-9]+).*/\1/p' "$(dirname "$0")/../../proto/messages.h")
says "\"protocol\":${protocol:?is not in proto/messages.h}," "$BRIGADE" version --json
says '"kernels":"' "$BRIGADE" version --json

# Output that nobody takes: a full disk is told, a reader who left is not.
if [ -w /dev/full ]; then
    status=0
    "$BRIGADE" help >/dev/full 2>"$work/full.log" || status=$?
    expect_equal "status with a full disk" "$status" 74
    grep -qF "standard output cannot be written" "$work/full.log" || fail "nothing is said"
fi
echo "the help of ${#verbs[@]} verbs"
