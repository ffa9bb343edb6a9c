#!/bin/bash
# Several models in one run: each ends in the bits that it would have come to alone, whatever code
# carries it, however late the workers are, and whoever is killed meanwhile. And `code: auto`: it
# measures, chooses, and a restart goes on with its choice.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
steps=12 # of each model

# model_digest STATE MODEL: of its parameters after the last step, from the bytes themselves.
model_digest() {
    local file
    file=$(printf '%s/%s/runs/1/checkpoints/ckpt-%010d/params-%d.bin' "$work" "$1" \
        "$((2 * steps))" "$2")
    [ -s "$file" ] || fail "there is no $file"
    tail -c +129 "$file" | b2sum -l 256 | cut -d ' ' -f 1
}

# both NAME CODE [FLAG...]: a run of two models with that code; compares them with $one and $two.
both() {
    local name=$1 code=$2 run=$work/$1.yaml
    shift 2
    tiny_llama "$run" "$steps" "code: $code" 'models: 2' 'checkpoint: {every: 4, keep: 2}'
    the_coordinator "$name" --config "$run"
    some_workers 4 "$@"
    wait_for_end 90
    dismiss_workers
    expect_equal "model 0 of $name and the run of seed 7" "$(model_digest "$name" 0)" "$one"
    expect_equal "model 1 of $name and the run of seed 8" "$(model_digest "$name" 1)" "$two"
    echo "$name: both models end as each does alone"
}

# alone CODE: a run for each of the two seeds; sets $one and $two.
alone() {
    local name=${1//[^a-z0-9]/}
    tiny_llama "$work/$name-7.yaml" "$steps" "code: $1"
    sed 's/^seed: 7/seed: 8/' "$work/$name-7.yaml" >"$work/$name-8.yaml"
    train "$name-7" "$work/$name-7.yaml" "$steps" 4
    one=$digest
    train "$name-8" "$work/$name-8.yaml" "$steps" 4
    two=$digest
    [ "$one" != "$two" ] || fail "two seeds give the same parameters"
}

# ---- codes whose shares are one chunk each add up as no code does ----
late='ge:p=0.2,q=0.7,add=60ms,seed=3'
alone '{scheme: none}'
both speculative '{scheme: speculative}' --fault "$late"
both parts '{scheme: frc, s: 1, parts: 2}' --fault "$late"
both delay '{scheme: frc, s: 1, parts: 2, delay: 1, mu: 0.5}' --fault "$late"
both msgc '{scheme: m-sgc, b: 1, w: 2, mu: 0.5}' --fault "$late"

# ---- and those of groups of two as frc does ----
alone '{scheme: frc, s: 1}'
both srsgc '{scheme: sr-sgc, b: 1, w: 2, lambda: 2, mu: 0.5}' --fault "$late"

# ---- killed at some step, in both kinds of code ----
killed() {
    local name=$1 code=$2 run=$work/$1.yaml
    tiny_llama "$run" "$steps" "code: $code" 'models: 2' 'checkpoint: {every: 4, keep: 2}'
    the_coordinator "$name" --config "$run"
    some_workers 4 --fault 'slow:factor=3'
    wait_for_line 30 "$name" ' round: step .* step=7 '
    stop "$coordinator" KILL
    the_coordinator "$name" --config "$run"
    kill_worker w2
    a_worker w5
    wait_for_line 30 "$name" ' round: step .* step=15 '
    stop "$coordinator" KILL
    the_coordinator "$name" --config "$run"
    wait_for_end 90
    dismiss_workers
    expect_equal "model 0 of $name and the run of seed 7" "$(model_digest "$name" 0)" "$one"
    expect_equal "model 1 of $name and the run of seed 8" "$(model_digest "$name" 1)" "$two"
    echo "$name: killed twice, and both models end as each does alone"
}
killed srsgc_killed '{scheme: sr-sgc, b: 1, w: 2, lambda: 2, mu: 0.5}'

# ---- what the operator sees of two models, and what workers took ----
state=shown
coordinator_flags=()
run=$work/shown.yaml
tiny_llama "$run" "$steps" 'code: {scheme: m-sgc, w: 3}' 'models: 3' 'batch: {sequences: 8}' \
    'sweep: {lr: [1e-2, 2e-2, 5e-3]}'
sed -i '/^batch: {sequences: 8, chunks: 4}$/d' "$run"
the_coordinator "$state" --config "$run"
some_workers 4
wait_until 60 eval "ask runs --json | jq -e '.runs[0].state == \"finished\"'"
expect_equal "steps of each model" "$(ask runs --json | jq -c '[.runs[0].models[].step]')" \
    "[$steps,$steps,$steps]"
expect_equal "steps in all" "$(ask runs --json | jq .runs[0].steps)" "$((3 * steps))"
expect_equal "points of one model" "$(ask curve --run tiny --model 1 --csv | wc -l)" \
    "$((steps + 1))"
ask run export-delays --run tiny --out "$work/delays.csv"
expect_equal "the heading" "$(head -n 1 "$work/delays.csv")" "worker,round,seconds,load,censored"
awk -F, 'NR > 1 && ($1 < 0 || $1 > 3 || $2 < 1 || $3 < 0 || $4 <= 0 || $4 > 1) { exit 1 }
    END { exit NR < 100 }' "$work/delays.csv" || fail "the delays are not what they should be"
expect_fails 1 "no such run" ask run export-delays --run nobody
dismiss_workers
stop "$coordinator"

# ---- auto ----
state=auto
run=$work/auto.yaml
tiny_llama "$run" 4000 'code: auto' 'models: 2'
the_coordinator "$state" --config "$run"
some_workers 4 --fault "ge:p=0.1,q=0.7,add=40ms,seed=5"
wait_until 60 eval "ask status --json | jq -e '.open.tuning.decisions > 0 and
    .open.tuning.state == \"settled\" and (.open.tuning.table | length) > 1'"
ask events --json | jq -se 'any(.[]; .kind == "code")' >/dev/null ||
    fail "the decision is no event"
chosen=$(ask status --json | jq -r .open.code)
ask status | grep -qF -e "* $chosen" || fail "the choice is not marked in the table"
stop "$coordinator" KILL
the_coordinator "$state" --config "$run"
wait_until 30 eval "ask status --json | jq -e '.open.step > 0'"
expect_equal "the code after a restart" "$(ask status --json | jq -r .open.code)" "$chosen"
echo "auto: $chosen"
settled() { ask status --json | jq -e '.open.tuning | .state == "settled" and .decisions > 0'; }
wait_until 60 eval 'settled'
ask status --json | jq -e '.open.tuning.predicted_step_s < 0.2' >/dev/null ||
    fail "the workers stalled before they were told to"
dismiss_workers
some_workers 4 --fault "stall:for=250ms" # not the workers that the choice was made for
wait_until 60 eval "ask status --json | jq -e '.open.tuning.predicted_step_s > 0.2'"
echo "auto: what it expects follows the workers that came instead"
dismiss_workers
stop "$coordinator"
