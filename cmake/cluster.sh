# cluster.sh - a coordinator and workers as processes of this machine, for ./demo. Sourced by bash
# after setup.sh; expects $brigade (the program) and $out (the folder for everything).
#
# Every process started here is known by its number and ended by clean_up, whatever happens.
# shellcheck shell=bash disable=SC2154,SC2034

leave_bound_s=5       # a process that was told to leave and has not after that is killed
start_bound_s=20      # for a coordinator to answer, also after a restart
poll_s=0.5            # between two looks at a run
export OMP_NUM_THREADS=1

worker_pids=()        # by worker number; empty: none
coordinator_pid=
place=                # folder of the cluster at hand

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# reap PID: takes note of its end without bash's own message.
reap() { { wait "$1" || true; } 2>/dev/null; }

# leave PID...: told to leave, killed at the bound.
leave() {
    local pid deadline_s=$((SECONDS + leave_bound_s))
    for pid in "$@"; do
        if alive "$pid"; then kill -TERM "$pid" 2>/dev/null || true; fi
    done
    for pid in "$@"; do
        while alive "$pid" && [ "$SECONDS" -lt "$deadline_s" ]; do sleep 0.05; done
        if alive "$pid"; then kill -KILL "$pid" 2>/dev/null || true; fi
        reap "$pid"
    done
}

# cluster_end: workers first, so that the coordinator sees them go.
cluster_end() {
    [ "${#worker_pids[@]}" -eq 0 ] || leave "${worker_pids[@]}"
    worker_pids=()
    [ -z "$coordinator_pid" ] || leave "$coordinator_pid"
    coordinator_pid=
}

clean_up() {
    local status=$?
    trap - EXIT INT TERM
    cluster_end
    rm -rf "${out:?}/state"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# fail SENTENCE: what went wrong in a cluster, with the end of its logs.
fail() {
    local log
    for log in "$place"/coordinator.log "$place"/worker-*.log; do
        [ ! -s "$log" ] || { echo "--- $log"; tail -n 4 "$log"; } >&2
    done
    die "$*; the whole logs are in $place"
}

# free_port: a port of the loopback on which nobody listens right now.
free_port() {
    local port try
    for try in $(seq 100); do
        port=$((20000 + (RANDOM + try) % 12000))
        if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return 0
        fi
    done
    die "no free TCP port found on 127.0.0.1"
}

# ask VERB...: the operator's verbs, at the coordinator of the cluster.
ask() { "$brigade" "$@" --state "$state/coordinator" --timeout 2s; }

answers() { ask runs --json >/dev/null 2>&1; }

# cluster_begin NAME: logs in $out/NAME, state in $out/state/NAME.
cluster_begin() {
    place=$out/$1
    state=$out/state/$1
    rm -rf "$place" "$state"
    mkdir -p "$place" "$state"
    port=$(free_port)
    coordinator_begin --token-out "$state/token"
    url=$(cat "$state/coordinator/endpoint")
}

# coordinator_begin [FLAG...]: also after a kill, on the same folder and port.
coordinator_begin() {
    local deadline_s=$((SECONDS + start_bound_s))
    "$brigade" coordinator --state "$state/coordinator" --listen "127.0.0.1:$port" \
        --lease 5s --beat 500ms "$@" >>"$place/coordinator.log" 2>&1 </dev/null &
    coordinator_pid=$!
    until answers; do
        alive "$coordinator_pid" || fail "the coordinator ended at its start"
        [ "$SECONDS" -lt "$deadline_s" ] || fail "the coordinator does not answer"
        sleep 0.05
    done
}

coordinator_kill() {
    kill -KILL "$coordinator_pid"
    reap "$coordinator_pid"
}

# worker_begin NUMBER KEY [FLAG...]: a worker whose key lies in the folder KEY; a new one is made
# and enrolled by the token if there is none.
worker_begin() {
    local number=$1 key=$2
    shift 2
    "$brigade" worker --join "$url" --token-file "$state/token" --state "$state/$key" \
        --name "$key" --threads 1 "$@" >>"$place/$key.log" 2>&1 </dev/null &
    worker_pids[number]=$!
}

worker_kill() {
    kill -KILL "${worker_pids[$1]}"
    reap "${worker_pids[$1]}"
}

# look: reads the cluster's one run into run_state, run_step, run_loss, run_held_out, ...
look() {
    local json
    json=$(ask runs --json 2>/dev/null) || return 1
    run_state=$(field state "$json")
    run_step=$(field step "$json")
    run_steps=$(field steps "$json")
    run_loss=$(field loss "$json")
    run_held_out=$(field held_out_loss "$json")
    run_held_out_step=$(field held_out_step "$json")
    run_accuracy=$(field held_out_accuracy "$json")
    run_digest=$(field params_digest "$json")
    run_reason=$(field reason "$json")
}

# field KEY JSON: its value, for the flat JSON of one run.
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" <<<"$2"; }

# follow BOUND_S [HOOK]: until the run is finished, with a line about it every few seconds. HOOK is
# called at every look, and may do mischief.
follow() {
    local deadline_s=$((SECONDS + $1)) hook=${2:-:} next_line_s=$SECONDS
    while [ "$SECONDS" -lt "$deadline_s" ]; do
        look || fail "the coordinator does not answer"
        keep_held_out
        if [ "$run_state" = finished ]; then
            show_progress
            return 0
        fi
        case $run_state in
        failed | stopped) fail "the run is $run_state: $run_reason" ;;
        esac
        if [ "$SECONDS" -ge "$next_line_s" ] && [ "${run_step:-0}" -gt 0 ]; then
            show_progress
            next_line_s=$((SECONDS + 5))
        fi
        "$hook"
        sleep "$poll_s"
    done
    fail "the run is at step $run_step of $run_steps after $1 s and was given up"
}

# keep_held_out: the looks at held-out text, in $place/held_out.csv; the coordinator has in memory
# only those since its last start.
keep_held_out() {
    local row="$run_held_out_step,$run_held_out"
    if [ "${run_held_out:-null}" != null ] && ! grep -qsxF "$row" "$place/held_out.csv"; then
        echo "$row" >>"$place/held_out.csv"
    fi
}

show_progress() {
    local held_out=
    [ "${run_held_out:-null}" = null ] || held_out=$(printf '  held out %.3f' "$run_held_out")
    [ "$run_loss" != null ] || return 0
    say "$(printf 'step %3d of %d  loss %.3f%s' "$run_step" "$run_steps" "$run_loss" "$held_out")"
}
