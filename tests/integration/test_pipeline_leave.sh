#!/bin/bash
# Workers of a pipeline that are told to leave hand their stage over to a spare while the line goes
# on, and leave with 0; others join in mid-run. The run ends with the losses and parameters of one
# that nobody left: a hand-over is exact.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
. "$(dirname "$0")/line.sh"
steps=1500 # so many that it is not over before all have left

state=c
the_coordinator c
line_workers 5 listen

# ---- undisturbed ----
line_run "$work/calm.yaml" calm 3 "$steps" 'recovery: {shadow_every: 5}'
ask submit "$work/calm.yaml" >/dev/null
until_run 90 calm finished
curve_of calm >"$work/calm.csv"
calm=$(tensors_of calm)

# ---- three leave, one after the other; one joins each time ----
line_run "$work/leave.yaml" leave 3 "$steps" 'recovery: {shadow_every: 5}'
ask submit "$work/leave.yaml" >/dev/null
at=20
for stage in 1 0 2; do
    until_step 60 leave "$at"
    wait_until 20 holder_of "$stage"
    victim=$(holder_of "$stage")
    at=$(run_field leave step)
    kill -TERM "${workers[$victim]}"
    wait_exit 20 "${workers[$victim]}"
    expect_equal "exit code of $victim, told to leave" "$exit_status" 0
    unset "workers[$victim]"
    line_worker "n$stage" listen
    echo "stage $stage: $victim left at step $at"
    at=$((at + 60))
done
run_is leave finished && fail "the run was over before all had left"
until_run 90 leave finished
[ -z "$(recoveries)" ] || fail "a stage was lost: $(recoveries)"
curve_of leave >"$work/leave.csv"
diff "$work/calm.csv" "$work/leave.csv" >"$work/diff.log" ||
    fail "the losses differ: $(head -n 4 "$work/diff.log")"
expect_equal "parameters with and without leaving" "$(tensors_of leave)" "$calm"
echo "three left, three joined: the same losses and parameters"
