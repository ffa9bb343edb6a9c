#!/bin/bash
# Workers and the coordinator are killed at random instants, and the run ends with the parameters of
# a run in which nobody was: bit for bit, twenty times in a row.
#
#   test_kill.sh [ROUNDS [SEED]]   the seed of round r is SEED + r; a failure prints it
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
rounds=${1:-20}
first_seed=${2:-1000}
steps=80
hits_max=3
lease=1s

tiny_llama "$work/run.yaml" "$steps" 'code: {scheme: frc, s: 1}' 'checkpoint: {every: 7, keep: 2}' \
    'timeouts: {task: 2s, pull: 1s}' 'min_workers: 2'

steps_made() { grep -c ' round: step ' "$work/$state.log" || true; }

# pause_at_random: until some more steps were made, and a part of a step. After 2 s in any case, as
# a kill before anything has begun is one of the instants, too.
pause_at_random() {
    local goal=$(($(steps_made) + RANDOM % (steps / hits_max))) try
    for try in $(seq 100); do
        [ "$(steps_made)" -lt "$goal" ] || break
        sleep 0.02
    done
    sleep "0.$(printf '%03d' $((RANDOM % 40)))"
}

# A worker dies and comes back, as the same one or, its disk lost, as a new one.
hit_worker() {
    local victim=w$((1 + RANDOM % 4))
    kill_worker "$victim"
    if [ $((RANDOM % 3)) -eq 0 ]; then rm -rf "${work:?}/$victim"; fi
    a_worker "$victim"
}

# hit_coordinator [COMMAND...]: the command runs while there is none.
hit_coordinator() {
    kill -KILL "$coordinator" 2>/dev/null || return 0 # it has finished
    wait "$coordinator" 2>/dev/null || true
    killed_at+=" $(steps_made)"
    "$@"
    the_coordinator "$state"
}

one_round() {
    local hits=0
    the_coordinator "$state" --config "$work/run.yaml"
    some_workers 4
    while [ "$hits" -lt "$hits_max" ]; do
        pause_at_random
        process_gone "$coordinator" && break
        hits=$((hits + 1))
        case $((RANDOM % 5)) in
        0 | 1) hit_worker ;;
        2 | 3) hit_coordinator true ;;
        4) hit_coordinator hit_worker ;; # nobody is left who was told of the last step
        esac
    done
    wait_for_end 60
    dismiss_workers
    digest=$(params_digest "$state" "$steps")
}

train clean "$work/run.yaml" "$steps" 4
clean=$digest
for round in $(seq "$rounds"); do
    seed=$((first_seed + round))
    RANDOM=$seed
    state=round$round killed_at=""
    began=$SECONDS
    echo "round $round, seed $seed" >"$work/seed.log" # shown with the logs of a failure
    one_round
    [ "$digest" = "$clean" ] || fail "seed $seed: digest $digest instead of $clean"
    echo "round $round, seed $seed, $((SECONDS - began)) s: coordinator killed after steps" \
        "${killed_at:-(never)}; $digest"
    rm -rf "${work:?}/$state" "$work"/w? "$work"/*.log "$work/token"
done
