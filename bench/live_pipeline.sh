#!/bin/bash
# live_pipeline.sh - what losing stages costs a real pipeline run: processes that are killed.
#
#   bench/live_pipeline.sh [--json] [--brigade PROGRAM] [--data FOLDER] [--steps N] [--seed N]
#                          [--only LADDER]
#
# A llama of 1 271 424 parameters in 6 stages reads the King James Bible, on 6 workers and 2 spares
# of this machine. First without any fault. Then the same once for each ladder: with kill -9, at
# random instants, the holder of an interior stage is lost, that of the first, that of the last, and
# two next to each other; and the coordinator. Each time as many new workers join as were killed.
#
# Rows: rung as the coordinator names it, `extra_loss` = mean loss of the 8 steps after the loss over
# that of the run without faults in the same steps, on the same batches; `at_end` = the same over the
# last 8 steps of the run; `seconds` from the kill to the next committed step. All share this
# machine's cores: what else runs on it disturbs the times.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd -P)
BRIGADE=$root/build/release/brigade BRG_DATA=$root/build/data
json=0 steps=240 seed=1 only=
while [ $# -gt 0 ]; do
    case $1 in
    --json) json=1 ;;
    --brigade) BRIGADE=$2 && shift ;;
    --data) BRG_DATA=$2 && shift ;;
    --steps) steps=$2 && shift ;;
    --seed) seed=$2 && shift ;;
    --only) only=$2 && shift ;;
    *)
        echo "usage: bench/live_pipeline.sh [--json] [--brigade PROGRAM] [--data FOLDER] [--steps N]" \
            "[--seed N] [--only LADDER]" >&2
        exit 64
        ;;
    esac
    shift
done
[ -x "$BRIGADE" ] || { echo "$BRIGADE is no program: build it, or say --brigade" >&2 && exit 78; }
[ "$steps" -ge 200 ] || { echo "--steps must be 200 or more" >&2 && exit 64; }
export BRIGADE BRG_DATA
# shellcheck source=tests/integration/lib.sh
. "$root/tests/integration/lib.sh"
# shellcheck source=tests/integration/crew.sh
. "$root/tests/integration/crew.sh"
# shellcheck source=tests/integration/line.sh
. "$root/tests/integration/line.sh"
RANDOM=$seed
# shellcheck disable=SC2034 # read by line_run
dim=128 hidden=352 context=64
stages=6 window=8
next_worker=100 # of those that come in the place of the dead

# NAME WORKERS LANES LINE: the ladders that are tried.
ladders=(
    'default 8 1 recovery: {shadow_every: 10}'
    'replica 14 2 recovery: {ladder: [replica, checkpoint]}'
    'shadow_f32 8 1 recovery: {ladder: [shadow], shadow_int8: false, shadow_moments: true}'
    'neighbours 8 1 recovery: {ladder: [neighbours]}'
    'checkpoint 8 1 recovery: {ladder: [checkpoint]}'
)

# begin NAME WORKERS LANES LINE: submits it with its workers.
begin() {
    run=$1
    line_run "$work/$1.yaml" "$1" "$stages" "$steps" "$4" 'checkpoint: {every: 10, keep: 2}' \
        "pipeline: {stages: $stages, replicas: $3, microbatches: 8}"
    ask submit "$work/$1.yaml" >/dev/null
    line_workers "$2" listen
    until_step 120 "$run" 20
}

# lose WHAT STAGE...: see test_pipeline_loss.sh; remembers what is to be printed at the end.
lose() {
    local what=$1 stage victims=() victim known began
    shift
    known=$(recoveries | wc -l)
    sleep "0.$(printf '%03d' $((RANDOM % 900)))"
    for stage in "$@"; do
        wait_until 30 holder_of "$stage"
        victims+=("$(holder_of "$stage")")
    done
    local before
    before=$(run_field "$run" step) began=$EPOCHREALTIME
    for victim in "${victims[@]}"; do kill_worker "$victim"; done
    until_step 120 "$run" $((before + 2)) # one may have been on its way
    local seconds
    seconds=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    for victim in "${victims[@]}"; do
        line_worker "w$next_worker" listen
        next_worker=$((next_worker + 1))
    done
    until_step 120 "$run" $((before + 20))
    losses+=("$what|$*|$before|$seconds|$(recoveries | tail -n +$((known + 1)) | paste -sd';')")
}

coordinator_dies() {
    local before began seconds
    sleep "0.$(printf '%03d' $((RANDOM % 900)))"
    before=$(run_field "$run" step) began=$EPOCHREALTIME
    stop "$coordinator" KILL
    the_coordinator "$state"
    until_step 120 "$run" $((before + 2))
    seconds=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    losses+=("coordinator||$before|$seconds|nothing was lost")
}

report() {
    local loss what where before seconds rung extra at_end
    at_end=$(extra_loss "$work/$run.csv" "$work/clean.csv" $((steps - window + 1)) "$window")
    for loss in "${losses[@]}"; do
        IFS='|' read -r what where before seconds rung <<<"$loss"
        rung=${rung:-a sibling went on}
        extra=$(extra_loss "$work/$run.csv" "$work/clean.csv" $((before + 2)) "$window")
        if [ "$json" -eq 1 ]; then
            jq -cn --arg ladder "$run" --arg lost "$what" --arg stages "$where" --arg rung "$rung" \
                --argjson step "$before" --argjson seconds "$seconds" --arg extra "$extra" \
                --arg end "$at_end" '{bench: "live_pipeline", ladder: $ladder, lost: $lost,
                stages: $stages, step: $step, seconds: $seconds, rung: $rung,
                extra_loss: ($extra | tonumber), at_end: ($end | tonumber)}'
        else
            printf '%-11s %-12s %-4s %5s %7s %9s %9s  %s\n' "$run" "$what" "$where" "$before" \
                "$seconds" "$extra" "$at_end" "$rung"
        fi
    done
}

one_ladder() {
    losses=()
    begin "$@"
    lose interior 3
    lose first 0
    lose last 5
    lose adjacent 1 2
    coordinator_dies
    until_run 300 "$run" finished
    curve_of "$run" >"$work/$run.csv"
    dismiss_workers
    report
}

state=c
the_coordinator c
begin clean 8 1 'recovery: {shadow_every: 10}'
began=$EPOCHREALTIME from=$(run_field clean step)
until_run 300 clean finished
awk -v a="$began" -v b="$EPOCHREALTIME" -v n=$((steps - from)) \
    'BEGIN { printf "without faults: %.2f steps a second\n", n / (b - a) }' >&2
curve_of clean >"$work/clean.csv"
dismiss_workers
[ "$json" -eq 1 ] || printf '%-11s %-12s %-4s %5s %7s %9s %9s  %s\n' ladder lost stage step seconds \
    extra_loss at_end rung
for entry in "${ladders[@]}"; do
    read -r name count lanes line <<<"$entry"
    [ -z "$only" ] || [ "$name" = "$only" ] || continue
    one_ladder "$name" "$count" "$lanes" "$line"
done
