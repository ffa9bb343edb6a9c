#!/bin/bash
# Six stages on six workers and two spares, and their holders are killed at random instants: one in
# the middle, the first, the last, two next to each other; then the coordinator. The run reaches its
# step count each time, says by which rung each stage came back, and what that did to the loss.
#
#   test_pipeline_loss.sh [SEED]
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
. "$(dirname "$0")/line.sh"
seed=${1:-1}
RANDOM=$seed
echo "seed $seed" >"$work/seed.log" # shown with the logs of a failure
apart=16 # steps between two losses, so that a shadow is whole again
next_worker=9

# begin NAME STAGES STEPS LINE...: submits it and waits until it makes steps.
begin() {
    local name=$1
    run=$name
    line_run "$work/$name.yaml" "$@"
    ask submit "$work/$name.yaml" >/dev/null
    until_step 30 "$name" "$apart"
}

# lose WHAT STAGE...: kills their holders at a random instant, waits until all are back and steps are
# made again, and puts as many new workers in the place of the dead. Sets `step_before`.
lose() {
    local what=$1 stage victims=() victim
    shift
    recoveries | wc -l >"$work/recoveries.before"
    sleep "0.$(printf '%03d' $((RANDOM % 300)))"
    for stage in "$@"; do
        wait_until 20 holder_of "$stage"
        victims+=("$(holder_of "$stage")")
    done
    step_before=$(run_field "$run" step)
    for victim in "${victims[@]}"; do kill_worker "$victim"; done
    for victim in "${victims[@]}"; do
        line_worker "w$next_worker" listen
        next_worker=$((next_worker + 1))
    done
    wait_until 30 recovered_times $(($(cat "$work/recoveries.before") + $#))
    until_step 40 "$run" $((step_before + apart))
    echo "$run: $what (stage $*) killed at step $step_before:" \
        "$(recoveries | tail -n $# | paste -sd';')"
}
recovered_times() { [ "$(recoveries | wc -l)" -ge "$1" ]; }

# by RUNG COUNT: the last COUNT stages came back by it.
by() {
    [ "$(recoveries | tail -n "$2" | grep -c -e "$1")" -eq "$2" ] ||
        fail "not by $1: $(recoveries | tail -n "$2")"
}
ends() {
    until_run 90 "$run" finished
    curve_of "$run" >"$work/$run.csv"
    expect_equal "steps in the curve of $run" "$(wc -l <"$work/$run.csv")" "$1"
    is_less "$(tail -n 1 "$work/$run.csv" | cut -d, -f2)" 3.4 || fail "$run did not learn"
}

state=c
the_coordinator c
line_workers 8 listen

# ---- the default ladder ----
begin default 6 800 'recovery: {shadow_every: 5}'
lose "one in the middle" 3
by shadow 1
lose "the first" 0
by shadow 1
lose "the last" 5
by shadow 1
lose "two side by side" 1 2
by shadow 2
at=$(run_field default step)
sleep "0.$(printf '%03d' $((RANDOM % 300)))"
stop "$coordinator" KILL
the_coordinator c
until_step 40 default $((at + apart))
echo "default: coordinator killed at step $at; it goes on"
ends 800

# ---- neighbours alone ----
begin neighbours 6 500 'recovery: {ladder: [neighbours]}'
lose "one in the middle" 2
by neighbours 1
lose "the first" 0
by neighbours 1
lose "the last" 5
by neighbours 1
ends 500

# ---- files alone: all stages go back to the newest checkpoint ----
begin files 6 400 'recovery: {ladder: [checkpoint]}' 'checkpoint: {every: 10, keep: 2}'
lose "one in the middle" 4
by checkpoint 1
ends 400
