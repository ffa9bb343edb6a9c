#!/bin/bash
# Nothing is announced before it is on disk. Writes to the store's log are slowed down, so that most
# kills of the coordinator fall between what it has decided and what it has written. A worker that was
# told of such a step would come back with proof of it, and the coordinator would have to stop.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
kills=8
steps=60
lease=1s

if ! cc -shared -fPIC -O1 -o "$work/slow_wal.so" "$(dirname "$0")/slow_wal.c" 2>"$work/cc.txt"; then
    echo "skipped: no compiler for slow_wal.c here"
    exit 77
fi
tiny_llama "$work/run.yaml" "$steps" 'code: {scheme: frc, s: 1}' 'checkpoint: {every: 30, keep: 2}' \
    'timeouts: {task: 2s, pull: 1s}' 'min_workers: 1'

slow_coordinator() { LD_PRELOAD=$work/slow_wal.so the_coordinator "$@"; }
steps_made() { grep -c ' round: step ' "$work/slow.log" || true; }
made_more_than() { [ "$(steps_made)" -gt "$1" ] || process_gone "$coordinator"; }

RANDOM=7
slow_coordinator slow --config "$work/run.yaml"
some_workers 4
for kill in $(seq "$kills"); do
    wait_until 30 made_more_than "$(($(steps_made) + 1))"
    sleep "0.$(printf '%03d' $((RANDOM % 50)))"
    kill -KILL "$coordinator" 2>/dev/null || break # it has finished
    wait "$coordinator" 2>/dev/null || true
    slow_coordinator slow
done
wait_for_end 60
dismiss_workers
grep -q 'holds proof' "$work/slow.log" && fail "a worker was told of a step that was not on disk"
echo "killed $kill times in $(steps_made) steps, and no worker knew more than the store"
