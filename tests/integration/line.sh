# line.sh - pipeline runs for the tests that need one. Sourced after lib.sh and crew.sh.
#
# The coordinator stays when a run has ended, so that the curve and the events can be asked for.
# shellcheck shell=bash disable=SC2034,SC2154
coordinator_flags=()
lease=1s

# line_run FILE NAME STAGES STEPS [LINE...]: a llama of 6 layers, small enough for many runs.
line_run() {
    local file=$1 name=$2 stages=$3 steps=$4
    shift 4
    cat >"$file" <<YAML
run: $name
kind: pipeline
model: {type: llama, dim: ${dim:-16}, layers: 6, heads: 2, hidden: ${hidden:-32}, context: ${context:-32}, vocab: bytes, tied: false}
data: {train: $data/kjv.txt, held_out: 5%}
batch: {sequences: 8}
optimizer: {type: adamw, lr: 1e-2, warmup: 5, schedule: cosine, clip: 1.0}
steps: $steps
seed: 7
YAML
    printf '%s\n' "$@" >>"$file"
    grep -q '^pipeline:' "$file" || echo "pipeline: {stages: $stages, microbatches: 8}" >>"$file"
    grep -q '^eval:' "$file" || echo 'eval: {every: 0}' >>"$file"
}

# run_field NAME KEY: of the run of that name.
run_field() {
    ask runs --json | jq -r --arg name "$1" ".runs[] | select(.name == \$name) | .$2"
}

# run_is NAME STATE: fails the test where the run has failed instead.
run_is() {
    local is
    is=$(run_field "$1" state) || return 1
    if [ "$is" = failed ] && [ "$2" != failed ]; then fail "run $1: $(run_field "$1" reason)"; fi
    [ "$is" = "$2" ]
}
run_beyond() { [ "$(run_field "$1" step)" -gt "$2" ]; }

# until_run SECONDS NAME STATE, until_step SECONDS NAME STEP: unlike wait_until, a run that failed
# ends the wait at once.
until_run() {
    local deadline_s=$((SECONDS + $1))
    until run_is "$2" "$3"; do
        [ "$SECONDS" -le "$deadline_s" ] ||
            fail "run $2 is not $3 within $1 s but $(run_field "$2" state) at step" \
                "$(run_field "$2" step)"
        sleep 0.1
    done
}
until_step() {
    local deadline_s=$((SECONDS + $1))
    until run_beyond "$2" $(($3 - 1)); do
        ! run_is "$2" finished || return 0
        [ "$SECONDS" -le "$deadline_s" ] ||
            fail "run $2 did not reach step $3 within $1 s; it is at $(run_field "$2" step)"
        sleep 0.05
    done
}

# line_workers COUNT HOW [FLAG...]: w1 .. wCOUNT; HOW is listen (peers dial each other) or relay.
line_workers() {
    local count=$1 how=$2 i
    shift 2
    for i in $(seq "$count"); do line_worker "w$i" "$how" "$@"; done
}
line_worker() {
    local name=$1 how=$2 flags=()
    shift 2
    if [ "$how" = listen ]; then flags=(--listen "127.0.0.1:$(free_port)"); fi
    a_worker "$name" --threads 1 "${flags[@]}" "$@"
}

# curve_of NAME: step,loss,gradient norm of each step, as many digits as there are.
curve_of() { ask curve --run "$1" --csv | awk -F, 'NR > 1 && $2 != "" { print $1 "," $2 "," $6 }'; }

# tensors_of NAME: the digest of all parameters, as float32.
tensors_of() {
    local head file=$work/export-$RANDOM
    "$BRIGADE" export --run "$1" --state "$work/$state" --format hf --out "$file" >/dev/null
    head=$(od -An -tu8 -N8 "$file/model.safetensors" | tr -d ' ')
    tail -c +$((head + 9)) "$file/model.safetensors" | b2sum -l 256 | cut -d ' ' -f 1
    rm -rf "$file"
}

# holder_of STAGE: the name of its first holder; fails while there is none.
holder_of() {
    ask status --json |
        jq -er ".open.line.stages[$1].holders[0].worker // error(\"nobody\")" 2>/dev/null
}
# a_spare: a worker that is here and has no seat.
a_spare() {
    ask status --json | jq -er '[.open.line.stages[].holders[].worker] as $seated |
        [.workers[] | select(.state == "active") | .worker] - $seated | .[0] // error("none")' \
        2>/dev/null
}
seats_full() { # STAGES [LANES]: every stage has its holders and steps are made
    ask status --json | jq -e --argjson s "$1" '.open.line.stages | length == $s and
        all(.[]; (.holders | length) > 0)' >/dev/null
}

# recoveries: one line for each stage that came back: STAGE RUNG
recoveries() {
    ask events --json --limit 1000 | jq -r 'select(.kind == "recovered") | .text'
}

# extra_loss FILE CLEAN FROM COUNT: mean, over COUNT steps from FROM on, of the loss in FILE over
# the one in CLEAN: both saw the same batches.
extra_loss() {
    awk -F, -v from="$3" -v count="$4" 'NR == FNR { clean[$1] = $2; next }
        $1 >= from && $1 < from + count { sum += $2 - clean[$1]; n++ }
        END { if (n == 0) print "none"; else printf "%+.4f\n", sum / n }' "$2" "$1"
}
