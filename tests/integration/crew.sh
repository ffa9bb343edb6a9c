# crew.sh - a coordinator and its workers, for the tests that need a whole run. Sourced after lib.sh.
#
# Times are short so that a lost worker is noticed within a test, and nothing here measures time. A
# coordinator takes a free port at its first start; later starts take the same one, as an
# operator's would.
# shellcheck shell=bash disable=SC2034,SC2154
lease=2s beat=100ms
coordinator_flags=(--exit-when-done)

if [ ! -s "$data/kjv.txt" ] || [ ! -s "$data/digits.csv" ]; then
    echo "skipped: $data holds no kjv.txt and digits.csv; cmake/setup.sh prepares them"
    exit 77
fi

# tiny_llama FILE STEPS [LINE...]: a run of a few thousand parameters, four workers in two groups.
tiny_llama() {
    local file=$1 steps=$2
    shift 2
    cat >"$file" <<YAML
run: tiny
model: {type: llama, dim: 16, layers: 1, heads: 2, hidden: 32, context: 32, vocab: bytes}
data: {train: $data/kjv.txt, held_out: 5%}
batch: {sequences: 8, chunks: 4}
optimizer: {type: adamw, lr: 1e-2, warmup: 5, clip: 1.0}
steps: $steps
seed: 7
workers: 4
eval: {every: 0}
YAML
    printf '%s\n' "$@" >>"$file"
}

# tiny_mlp FILE STEPS [LINE...]: a small classifier of handwritten digits, laid out likewise.
tiny_mlp() {
    local file=$1 steps=$2
    shift 2
    cat >"$file" <<YAML
run: digits
model: {type: mlp, inputs: 64, classes: 10, hidden: [32]}
data: {train: $data/digits.csv, held_out: 20%}
batch: {samples: 64, chunks: 4}
optimizer: {type: adamw, lr: 1e-2, warmup: 5}
steps: $steps
seed: 7
workers: 4
YAML
    printf '%s\n' "$@" >>"$file"
}

# the_coordinator STATE [FLAG...]: starts it in the background on $work/STATE and waits until it
# listens; sets `coordinator` (its pid) and `url`. The first start makes the token.
the_coordinator() {
    local state=$1 listen made=()
    shift
    if [ -s "$work/$state/endpoint" ]; then
        listen=$(sed 's/.*@//' "$work/$state/endpoint")
    else
        listen=127.0.0.1:$(free_port)
        made=(--token-out "$work/token")
    fi
    rm -f "$work/$state/endpoint"
    start "$state" "$BRIGADE" coordinator --state "$work/$state" --listen "$listen" \
        --lease "$lease" --beat "$beat" "${made[@]}" "${coordinator_flags[@]}" "$@"
    coordinator=$pid
    wait_until 30 listens_or_ended "$work/$state/endpoint" "$coordinator"
    [ -s "$work/$state/endpoint" ] || {
        url=""
        return 0 # it ended: see wait_exit
    }
    url=$(cat "$work/$state/endpoint")
}

# The token is written last, so that whoever sees the endpoint may have to wait for it.
listens_or_ended() { { [ -s "$1" ] && [ -s "$work/token" ]; } || process_gone "$2"; }

# a_worker NAME [FLAG...]: starts one with the state folder $work/NAME; sets workers[NAME] to its
# pid.
declare -A workers
a_worker() {
    local name=$1
    shift
    start "$name" "$BRIGADE" worker --join "$url" --token-file "$work/token" \
        --state "$work/$name" --name "$name" "$@"
    workers[$name]=$pid
}

# some_workers COUNT [FLAG...]: w1 .. wCOUNT
some_workers() {
    local count=$1 i
    shift
    for i in $(seq "$count"); do a_worker "w$i" "$@"; done
}

# kill_worker NAME: at once, as if its power went.
kill_worker() {
    kill -KILL "${workers[$1]}" 2>/dev/null || true
    wait "${workers[$1]}" 2>/dev/null || true
    unset "workers[$1]"
}

# dismiss_workers: ends all of them.
dismiss_workers() {
    local name
    for name in "${!workers[@]}"; do kill_worker "$name"; done
}

# wait_for_end SECONDS: until the coordinator has left with 0 because its runs have ended.
wait_for_end() {
    wait_exit "$1" "$coordinator"
    [ "$exit_status" -eq 0 ] || fail "the coordinator left with $exit_status"
}

# params_digest STATE STEPS: of the parameters after the last step, from the bytes themselves.
params_digest() {
    local file
    file=$(printf '%s/%s/runs/1/checkpoints/ckpt-%010d/params.bin' "$work" "$1" "$2")
    [ -s "$file" ] || fail "there is no $file"
    tail -c +129 "$file" | b2sum -l 256 | cut -d ' ' -f 1
}

# train STATE RUN STEPS WORKERS [FLAG...]: a whole run without anything going wrong; sets `digest`.
train() {
    local state=$1 run=$2 steps=$3 count=$4
    shift 4
    the_coordinator "$state" --config "$run"
    some_workers "$count" "$@"
    wait_for_end 60
    dismiss_workers
    digest=$(params_digest "$state" "$steps")
}

# loss_of STATE STEP: as the coordinator logged it.
loss_of() { sed -nE "s/.* round: step run=1 step=$2 loss=([^ ]*) .*/\1/p" "$work/$1.log" | tail -n 1; }

# is_less A B, is_near A B MARGIN: of two decimal numbers.
is_less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 < b + 0) }'; }
is_near() { awk -v a="$1" -v b="$2" -v m="$3" 'BEGIN { exit !(a - b < m && b - a < m) }'; }

# ask VERB...: an operator's question to the coordinator of $work/STATE (variable `state`).
ask() { "$BRIGADE" "$@" --state "$work/$state"; }
