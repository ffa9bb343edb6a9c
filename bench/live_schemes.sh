#!/bin/bash
# live_schemes.sh - what each scheme takes on 16 real worker processes with stragglers made to order.
#
#   bench/live_schemes.sh [--json] [--brigade PROGRAM] [--data digits.csv] [--steps N] [--only NAME]
#
# One coordinator, 16 workers with a state folder each, one run a scheme after the other: 4 models
# (multilayer perceptrons of 9610 parameters on handwritten digits, batch of 2560) of N steps each
# (default 30). Each worker is late by a Gilbert-Elliott chain of its own over the rounds, p = 0.05 and
# q = 0.6, so that in a round about one worker in thirteen is:
#
#   additive         ... by 150 ms, as by a stall of the network or a neighbour's burst
#   multiplicative   computing takes 16 times as long, of which 15 are slept, so that 16 workers on few
#                    cores work beside each other; and for a straggler 5 times that
#
# Rows: ms_per_step between the fourth step of each model and the last, worker_cpu_ms and
# coordinator_cpu_ms a step (all of a run; a short one before has fetched the data), gradient_error = the largest relative
# distance, over all steps, of the decoded gradient from that of the uncoded run. All share this
# machine's cores: what else runs on it disturbs the times.
set -euo pipefail
export LC_ALL=C
root=$(cd "$(dirname "$0")/.." && pwd -P)
brigade=$root/build/release/brigade data=$root/build/data/digits.csv
json=0 steps=30 models=4 count=16 elements=9610 only=
while [ $# -gt 0 ]; do
    case $1 in
    --json) json=1 ;;
    --brigade) brigade=$2 && shift ;;
    --data) data=$2 && shift ;;
    --steps) steps=$2 && shift ;;
    --only) only=$2 && shift ;;
    *)
        echo "usage: bench/live_schemes.sh [--json] [--brigade PROGRAM] [--data FILE] [--steps N]" \
            "[--only SCHEME]" >&2
        exit 64
        ;;
    esac
    shift
done
[ -x "$brigade" ] || { echo "$brigade is no program: build it, or say --brigade" >&2 && exit 78; }
[ -s "$data" ] || { echo "$data is missing: cmake/setup.sh prepares it" >&2 && exit 78; }
[ "$steps" -ge 5 ] || { echo "--steps must be 5 or more" >&2 && exit 64; }

# NAME CODE; the first is what the others are compared with.
schemes=(
    'none {scheme: none}'
    'speculative {scheme: speculative, parts: 2}'
    'cyclic_paper {scheme: cyclic, s: 2, policy: paper, mu: 1}'
    'cyclic {scheme: cyclic, s: 2}'
    'frc {scheme: frc, s: 1}'
    'frc_parts {scheme: frc, s: 1, parts: 4}'
    'frc_delay {scheme: frc, s: 1, delay: 1, policy: minwait, mu: 0.5}'
    'sr_repetition {scheme: sr-sgc, b: 1, w: 2, lambda: 4, base: repetition, mu: 0.5}'
    'sr_cyclic {scheme: sr-sgc, b: 1, w: 2, lambda: 4, base: cyclic, mu: 0.5}'
    'm_all {scheme: m-sgc, b: 1, w: 2, lambda: 16, mu: 0.5}'
    'm_repetition {scheme: m-sgc, b: 1, w: 2, lambda: 3, base: repetition, mu: 0.5}'
    'm_cyclic {scheme: m-sgc, b: 1, w: 2, lambda: 3, base: cyclic, mu: 0.5}'
)

work=$(mktemp -d "${TMPDIR:-/tmp}/brigade-bench.XXXXXX")
pids=()
clean_up() {
    local pid
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# wait_for SECONDS COMMAND...
wait_for() {
    local until_s=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -gt "$until_s" ]; then
            echo "not in time: $*" >&2
            tail -n 5 "$work"/*/coordinator.log >&2
            exit 75
        fi
        sleep 0.05
    done
}

# cpu_ms PID...: of processes, user and system. The name may hold spaces, so it is cut off first.
cpu_ms() {
    local pid ticks=0 fields
    for pid in "$@"; do
        read -r -a fields <<<"$(sed 's/^.*) //' "/proc/$pid/stat")"
        ticks=$((ticks + fields[11] + fields[12]))
    done
    echo $((ticks * 1000 / $(getconf CLK_TCK)))
}

run_file() { # NAME CODE STEPS
    cat >"$work/run.yaml" <<YAML
run: ${1//_/-}
model: {type: mlp, inputs: 64, classes: 10, hidden: [128]}
data: {train: $data, held_out: 20%}
batch: {samples: 2560, chunks: 80}
optimizer: {type: sgd, lr: 0.05, momentum: 0}
models: $models
steps: $3
seed: 7
workers: $count
min_workers: $count
code: $2
eval: {every: 0}
checkpoint: {every: 100000}
YAML
}

# free_port: one of the loopback on which nobody listens: opening a connection fails
free_port() {
    local port=$((20000 + RANDOM % 12000)) try
    for try in $(seq 100); do
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
        port=$((port + try))
    done
    echo "$port"
}

finished() { "$brigade" runs --state "$state" | grep -qE "^ *$1 +[a-z-]+ +finished "; }

# gradients STATE NUMBER: the log of the decoded ones (coordinator/shell/gradlog.h), a float a line
gradients() {
    dd if="$1/runs/$2/log/segment-0000000001.grad" status=none iflag=skip_bytes,count_bytes bs=64K \
        skip=4096 count=$((steps * models * (128 + 4 * elements))) | od -An -v -w4 -tf4
}
gradient_error() { # STATE NUMBER
    paste <(gradients "$1" "$2") <(gradients "$1" 2) | awk -v size=$((32 + elements)) '
        { at = (NR - 1) % size }
        at >= 32 { d += ($1 - $2) ^ 2; b += $2 ^ 2 }
        at == size - 1 {
            if (d > worst * b) worst = d / b
            d = b = 0
        }
        END { printf "%.1e", sqrt(worst) }'
}

# pace NUMBER: milliseconds a step, by the coordinator's log. A run does not cross midnight twice.
pace() {
    awk -v run="run=$1" -v first=$((4 * models)) -v last=$((steps * models)) '
        / round: step / && $0 ~ " " run " " {
            split(substr($1, 12), t, /[:Z]/)
            now = t[1] * 3600 + t[2] * 60 + t[3]
            if (now < before) now += 86400
            before = now
            n++
            if (n == first) from = now
            if (n == last) printf "%.1f", (now - from) * 1000 / (last - first)
        }' "$state/coordinator.log"
}

say() { # NAME CODE MS WORKER_MS COORDINATOR_MS ERROR
    local ratio
    [ "$1" = none ] && uncoded=$3
    ratio=$(awk -v a="$3" -v b="$uncoded" 'BEGIN { printf "%.2f", a / b }')
    if [ "$json" -eq 1 ]; then
        printf '{"bench":"live_schemes","profile":"%s","scheme":"%s","code":"%s","workers":%d,' \
            "$profile" "$1" "$2" "$count"
        printf '"models":%d,"steps":%d,"ms_per_step":%s,"vs_uncoded":%s,' \
            "$models" "$((steps * models))" "$3" "$ratio"
        printf '"worker_cpu_ms":%s,"coordinator_cpu_ms":%s,"gradient_error":%s}\n' "$4" "$5" "$6"
    else
        printf '%-15s %-14s %9s %6s %11s %11s %9s\n' "$profile" "$1" "$3" "$ratio" "$4" "$5" "$6"
    fi
}

one_profile() { # NAME FAULT
    local entry name code number=1 coordinator workers=() i before_w before_c
    profile=$1 state=$work/$1
    mkdir "$state"
    "$brigade" coordinator --state "$state" --listen "127.0.0.1:$(free_port)" --token-out "$state/token" \
        >"$state/coordinator.log" 2>&1 </dev/null &
    coordinator=$!
    pids+=("$coordinator")
    wait_for 30 test -s "$state/endpoint" -a -s "$state/token"
    for i in $(seq "$count"); do
        "$brigade" worker --join "$(cat "$state/endpoint")" --token-file "$state/token" --threads 1 \
            --state "$state/w$i" --name "w$i" --fault "$2,seed=$i" >"$state/w$i.log" 2>&1 </dev/null &
        workers+=("$!")
        pids+=("$!")
    done
    run_file warm-up '{scheme: none}' 3
    "$brigade" submit "$work/run.yaml" --state "$state" >/dev/null
    wait_for 60 finished 1
    for entry in "${schemes[@]}"; do
        read -r name code <<<"$entry"
        [ -z "$only" ] || [ "$name" = none ] || [ "$name" = "$only" ] || continue
        number=$((number + 1))
        run_file "$name" "$code" "$steps"
        before_w=$(cpu_ms "${workers[@]}") before_c=$(cpu_ms "$coordinator")
        "$brigade" submit "$work/run.yaml" --state "$state" >/dev/null
        wait_for 300 finished "$number"
        say "$name" "$code" "$(pace "$number")" \
            $((($(cpu_ms "${workers[@]}") - before_w) / (steps * models))) \
            $((($(cpu_ms "$coordinator") - before_c) / (steps * models))) \
            "$(gradient_error "$state" "$number")"
    done
    for i in "${workers[@]}" "$coordinator"; do kill -KILL "$i" 2>/dev/null || true; done
    for i in "${workers[@]}" "$coordinator"; do wait "$i" 2>/dev/null || true; done
    pids=()
}

if [ "$json" -eq 0 ]; then
    printf '%-15s %-14s %9s %6s %11s %11s %9s\n' profile scheme ms/step ratio 'workers ms' 'coord. ms' error
fi
one_profile additive 'ge:p=0.05,q=0.6,add=150ms'
one_profile multiplicative 'slow:factor=16;ge:p=0.05,q=0.6,factor=5'
