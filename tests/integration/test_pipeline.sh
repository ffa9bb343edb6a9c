#!/bin/bash
# Pipeline runs without faults: however many stages the model is cut into, however many workers hold
# each, and whether these dial each other or are relayed, the run comes to the same losses and the
# same parameters. Then a pause, and the rest of the run on another number of stages.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
. "$(dirname "$0")/line.sh"
steps=24
long=300 # of the run that is paused: it must not be over before

# one_line NAME STAGES LANES WORKERS HOW [LINE...]: a whole run; the curve goes to $work/NAME.csv, the
# digest of the parameters into `tensors`.
one_line() {
    local name=$1 stages=$2 lanes=$3 count=$4 how=$5
    shift 5
    line_run "$work/$name.yaml" "$name" "$stages" "$steps" \
        "pipeline: {stages: $stages, replicas: $lanes, microbatches: 8${wire:+, wire: $wire}}" "$@"
    ask submit "$work/$name.yaml" >/dev/null
    until_run 60 "$name" finished
    curve_of "$name" >"$work/$name.csv"
    expect_equal "steps in the curve of $name" "$(wc -l <"$work/$name.csv")" "$steps"
    tensors=$(tensors_of "$name")
}

# same NAME: as the run of one stage, to the bit.
same() {
    diff "$work/s1.csv" "$work/$1.csv" >"$work/diff.log" ||
        fail "the losses of $1 differ from those of one stage: $(head -n 4 "$work/diff.log")"
    expect_equal "parameters of $1 and of one stage" "$tensors" "$first"
    echo "$1: the same losses and parameters as one stage"
}

state=c
the_coordinator c
line_workers 6 listen
one_line s1 1 1 6 listen
first=$tensors
is_less "$(tail -n 1 "$work/s1.csv" | cut -d, -f2)" "$(head -n 1 "$work/s1.csv" | cut -d, -f2)" ||
    fail "the loss did not fall"
for stages in 2 4 6; do
    one_line "s$stages" "$stages" 1 6 listen
    same "s$stages"
done

# ---- two holders a stage: sums are added lane by lane, which is another order ----
one_line lanes1 1 2 6 listen
lanes=$tensors
one_line lanes3 3 2 6 listen
diff "$work/lanes1.csv" "$work/lanes3.csv" >/dev/null || fail "two lanes: the losses differ"
expect_equal "parameters of two lanes in 1 and 3 stages" "$tensors" "$lanes"
is_near "$(tail -n 1 "$work/lanes3.csv" | cut -d, -f2)" "$(tail -n 1 "$work/s1.csv" | cut -d, -f2)" \
    0.02 || fail "two lanes end elsewhere"
echo "two lanes: the same for 1 and 3 stages"

# ---- rounded activations: close, and not the same ----
for wire in bf16 int8; do
    one_line "$wire" 3 1 6 listen
    off=$(extra_loss "$work/$wire.csv" "$work/s1.csv" 1 "$steps")
    is_near "$off" 0 0.05 || fail "$wire is off by $off"
    [ "$tensors" != "$first" ] || fail "$wire rounds nothing"
    echo "$wire: mean loss off by $off"
done
wire=""

# ---- workers that cannot listen ----
dismiss_workers
line_workers 4 relay
one_line relayed 4 1 4 relay
same relayed

# ---- paused, and the rest on two stages with another coordinator process ----
dismiss_workers
line_workers 4 listen
steps=$long
one_line whole 1 1 4 listen
whole=$tensors
line_run "$work/cut.yaml" cut 4 "$steps" 'checkpoint: {every: 50, keep: 2}'
ask submit "$work/cut.yaml" >/dev/null
until_step 30 cut 7
ask pause cut >/dev/null
until_run 20 cut paused
at=$(run_field cut step)
dismiss_workers
stop "$coordinator" KILL
the_coordinator c
line_workers 4 listen # two of them are spares
ask resume cut --stages 2 >/dev/null
until_run 60 cut finished
tensors=$(tensors_of cut)
expect_equal "parameters after a pause at step $at and of one stage" "$tensors" "$whole"
echo "cut: paused at step $at of 4 stages, ended on 2 with the parameters of one stage"

# ---- what comes out is a model like any other ----
perplexity=$("$BRIGADE" eval --run cut --state "$work/c" --json --held-out 5% --recipe windows \
    --chunks 8 "$data/kjv.txt" | jq .perplexity)
is_less "$perplexity" 256 || fail "perplexity $perplexity"
"$BRIGADE" generate --run cut --state "$work/c" --tokens 5 >/dev/null
echo "perplexity after $steps steps: $perplexity"
