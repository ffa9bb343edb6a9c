#!/bin/bash
# Every scheme, live: 16 workers, 4 models, stragglers by a Gilbert-Elliott process in the workers.
# Every decoded gradient is that of the uncoded run: the same bits where the code sums in that order,
# else up to the rounding of another order. Stragglers leave no trace where the same shares are added
# whoever made them. And a coordinator killed in the middle of an m-sgc run changes no bit.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
coordinator_flags=()
count=16 models=4
steps=6 # of each model

# NAME KIND CODE. Same: sums in the order of the uncoded run. Exact: in an order of the code's own,
# whoever made the shares. Near: combines whichever shares came first, with weights that magnify the
# rounding of float32 some hundred to some thousand times.
schemes=(
    'none same {scheme: none}'
    'frc exact {scheme: frc, s: 1}'
    'frc_parts exact {scheme: frc, s: 1, parts: 4}'
    'frc_delay exact {scheme: frc, s: 1, delay: 1, policy: minwait, mu: 0.5}'
    'speculative exact {scheme: speculative, parts: 2}'
    'sr_repetition exact {scheme: sr-sgc, b: 1, w: 2, lambda: 4, base: repetition, mu: 0.5}'
    'm_all same {scheme: m-sgc, b: 1, w: 2, lambda: 16, mu: 0.5}'
    'm_repetition exact {scheme: m-sgc, b: 1, w: 2, lambda: 3, base: repetition, mu: 0.5}'
    'cyclic near {scheme: cyclic, s: 2}'
    'sr_cyclic near {scheme: sr-sgc, b: 1, w: 2, lambda: 4, base: cyclic, mu: 0.5}'
    'm_cyclic near {scheme: m-sgc, b: 1, w: 2, lambda: 3, base: cyclic, mu: 0.5}'
)

# run_file NAME CODE [STEPS]: 80 chunks divide as every code above wants them. Plain descent, so that
# what an error in a gradient does to the parameters is no more and no less than its size.
run_file() {
    cat >"$work/$1.yaml" <<YAML
run: ${1//_/-}
model: {type: mlp, inputs: 64, classes: 10, hidden: [32]}
data: {train: $data/digits.csv, held_out: 20%}
batch: {samples: 160, chunks: 80}
optimizer: {type: sgd, lr: 0.1, momentum: 0}
models: $models
steps: ${3:-$steps}
seed: 7
workers: $count
min_workers: $count
code: $2
eval: {every: 0}
timeouts: {task: 5s}
YAML
}

run_state() { grep -qE "^ *$1 +[a-z-]+ +$2 " <<<"$(ask runs)"; }
# params_of STATE NUMBER MODEL [STEPS]: the file with the last parameters of a model
params_of() {
    printf '%s/%s/runs/%d/checkpoints/ckpt-%010d/params-%d.bin' "$work" "$1" "$2" \
        "$((${4:-$steps} * models))" "$3"
}
digest_of() {
    local file
    file=$(params_of "$@")
    [ -s "$file" ] || fail "there is no $file"
    tail -c +129 "$file" | b2sum -l 256 | cut -d ' ' -f 1
}
# gradients STATE NUMBER SKIP COUNT: those of COUNT steps, one float a line, as the log has them: from
# its byte 4096 on, for each step 128 bytes of header and 2410 floats
gradients() {
    local record=$((128 + 4 * 2410))
    dd if="$work/$1/runs/$2/log/segment-0000000001.grad" status=none iflag=skip_bytes,count_bytes \
        bs=64K skip=$((4096 + $3 * record)) count=$(($4 * record)) | od -An -v -w4 -tf4
}
# distance STATE NUMBER STATE NUMBER [SKIP]: the largest |a - b| / |b| of a step; of a, without the
# first SKIP steps
distance() {
    local count=$((steps * models - ${5:-0}))
    paste <(gradients "$1" "$2" "${5:-0}" "$count") <(gradients "$3" "$4" 0 "$count") |
        awk -v count="$count" '
            { at = (NR - 1) % 2442 }
            at >= 32 { d += ($1 - $2) ^ 2; b += $2 ^ 2 }
            at == 2441 {
                if (b > 0 && d == d) judged++
                if (d > worst * b) worst = d / b
                d = b = 0
            }
            END { if (judged == count) printf "%.2g", sqrt(worst) }'
}
is_below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a ~ /^[0-9]/ && a + 0 < b + 0) }'; }

# all_schemes STATE: each as a run of its own, one after the other, on the workers that are there
all_schemes() {
    local entry name kind code number=0
    for entry in "${schemes[@]}"; do
        read -r name kind code <<<"$entry"
        run_file "$name" "$code"
        ask submit "$work/$name.yaml" >/dev/null
        number=$((number + 1))
    done
    wait_until 120 run_state "$number" finished
}

# crew [FAULT]: the workers; each one's chain has a seed of its own
crew() {
    local i
    for i in $(seq "$count"); do a_worker "w$i" ${1:+--fault "$1,seed=$i"}; done
}
let_go() {
    dismiss_workers
    stop "$coordinator"
    rm -f "$work/token"
}

# ---- nobody is late ----
state=clean
the_coordinator "$state"
crew
all_schemes
let_go

# ---- in a round a fifth of the workers is, most of them only once ----
state=late
rm -rf "$work"/w[0-9]*
the_coordinator "$state"
crew ge:p=0.15,q=0.6,add=40ms
all_schemes
let_go

number=0
for entry in "${schemes[@]}"; do
    read -r name kind code <<<"$entry"
    number=$((number + 1))
    for model in $(seq 0 $((models - 1))); do
        [ "$kind" = near ] && break
        expect_equal "model $model of $name, with stragglers and without" \
            "$(digest_of late "$number" "$model")" "$(digest_of clean "$number" "$model")"
        [ "$kind" = exact ] && continue
        expect_equal "model $model of $name and of the uncoded run" \
            "$(digest_of late "$number" "$model")" "$(digest_of clean 1 "$model")"
    done
    error=$(distance late "$number" clean 1)
    bound=1e-6
    [ "$kind" != near ] || bound=1e-2
    is_below "$error" "$bound" || fail "a gradient of $name is $error away from the uncoded one"
    echo "$name ($kind): gradients at most $error away from the uncoded ones"
done
# The measure sees a difference where there is one: between neighbouring steps, of other models.
error=$(distance clean 1 clean 1 1)
is_below 0.1 "$error" || fail "gradients of different steps are only $error apart"
# And there were stragglers: without a code a step waits for them, 40 ms.
slow=$(sed -nE 's/.* round: step run=1 .* seconds=([0-9.]+) .*/\1/p' "$work/late.log" |
    awk '$1 >= 0.04' | wc -l)
[ "$slow" -ge $((steps * models / 3)) ] || fail "only $slow uncoded steps met a straggler"

# ---- the coordinator dies in the middle ----
long=40
run_file killed '{scheme: m-sgc, b: 1, w: 2, lambda: 16, mu: 0.5}' "$long"
steps_made() { grep -c ' round: step ' "$work/$state.log" || true; }
made() { [ "$(steps_made)" -ge "$1" ]; }
for state in whole killed; do
    rm -rf "$work"/w[0-9]*
    the_coordinator "$state" --config "$work/killed.yaml"
    crew ge:p=0.15,q=0.6,add=20ms
    if [ "$state" = killed ]; then
        for at in 50 100; do
            wait_until 60 made "$at"
            stop "$coordinator" KILL
            the_coordinator "$state"
        done
    fi
    wait_until 60 run_state 1 finished
    let_go
done
for model in $(seq 0 $((models - 1))); do
    expect_equal "model $model after two deaths of the coordinator" \
        "$(digest_of killed 1 "$model" "$long")" "$(digest_of whole 1 "$model" "$long")"
done
echo "a coordinator killed twice in an m-sgc run: $(digest_of killed 1 0 "$long")"
