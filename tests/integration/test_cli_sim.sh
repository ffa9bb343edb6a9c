#!/usr/bin/env bash
# test_cli_sim.sh - brigade sim rounds: the same answer each time, the answers that theory has, and
# one sentence for each thing that is wrong.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

sim() { "$BRIGADE" sim rounds "$@"; }
field() { sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p"; }
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a < b) }' || fail "$1 is not below $2 ($3)"; }

# Three workers, two of which answer after 1 s and one after 1 s or 5 s.
delays=$work/delays.csv
{
    echo worker,round,seconds
    for round in 1 2 3 4; do
        echo "0,$round,1.0"
        echo "1,$round,1.0"
        echo "2,$round,$((round == 4 ? 5 : 1)).0"
    done
} >"$delays"

all=$(sim --profile "$delays" --scheme none --rounds 4 --no-reattempt --json)
expect_equal "waiting for all" "$(field seconds <<<"$all")" 8
expect_equal "worker-seconds" "$(field worker_seconds <<<"$all")" 16
again=$(sim --profile "$delays" --scheme none --rounds 4 --json)
expect_equal "attempted again after twice the fastest answer" "$(field seconds <<<"$again")" 6
expect_equal "attempts" "$(field reattempts <<<"$again")" 1

# The process: the same seed gives the same run, another one another.
one=$(sim --n 64 --rounds 100 --scheme frc --s 3 --json)
expect_equal "a run repeats itself" "$(sim --n 64 --rounds 100 --scheme frc --s 3 --json)" "$one"
other=$(sim --n 64 --rounds 100 --scheme frc --s 3 --seed 2 --json)
[ "$one" != "$other" ] || fail "another seed gives the same run"
published=$(sim --n 64 --rounds 100 --scheme cyclic --s 7 --policy paper --no-reattempt --json)
less "$(field seconds <<<"$one")" "$(field seconds <<<"$published")" "frc early, cyclic paper"
for scheme in "none" "speculative --mu 0.5 --parts 2" "sr-sgc --w 3 --lambda 6 --mu 0.5" \
    "m-sgc --b 2 --w 3 --mu 0.25" "m-sgc --lambda 9 --base cyclic --rule model --policy paper" \
    "frc --delay 1 --mu 0.25" "sr-sgc --base cyclic --b 2 --w 3 --lambda 5 --late starts-late"; do
    read -r -a words <<<"$scheme"
    steps=$(sim --n 64 --rounds 50 --scheme "${words[@]}" --json | field steps)
    expect_equal "steps of $scheme" "$steps" 50
done

# The tuner: faster than what it would have been without, and it says what it chose.
tuned=$(sim --n 64 --rounds 300 --profile gilbert-elliott:alpha=20s --json)
fixed=$(sim --n 64 --rounds 300 --profile gilbert-elliott:alpha=20s --scheme none --json)
less "$(field seconds <<<"$tuned")" "$(field seconds <<<"$fixed")" "auto, none"
grep -q '"decisions": *\[{"round"' <<<"$tuned" || fail "auto does not say what it chose: $tuned"
sim --n 8 --rounds 60 | grep -q "^after round" || fail "no decisions in the text"

expect_fails 78 "no setting 'shap', did you mean 'shape'?" "$BRIGADE" sim rounds \
    --profile gilbert-elliott:shap=1
expect_fails 78 "alpha is '3'; it has to be a number with its unit" "$BRIGADE" sim rounds \
    --profile gilbert-elliott:alpha=3
expect_fails 78 "cannot be read" "$BRIGADE" sim rounds --profile "$work/none.csv"
echo "1,2" >>"$delays"
expect_fails 78 "line 14: column 3" "$BRIGADE" sim rounds --profile "$delays"
expect_fails 64 "it has to be auto, none, frc" "$BRIGADE" sim rounds --scheme rfc
expect_fails 64 "needs 2 to 8 models" "$BRIGADE" sim rounds --scheme m-sgc --models 1
expect_fails 64 "use minwait" "$BRIGADE" sim rounds --scheme sr-sgc --policy early
expect_fails 64 "mu is '-1'" "$BRIGADE" sim rounds --scheme frc --mu -1
echo "the simulator answers"
