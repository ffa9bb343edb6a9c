#!/bin/bash
# A worker that is told to leave (SIGTERM, as a preemption brings it) does so with 0 and before its
# deadline; the step in flight goes on, and the run ends with the parameters of an undisturbed one.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
steps=40
stall=--fault=stall:for=120ms # so that a signal comes in the middle of a step

tiny_llama "$work/run.yaml" "$steps" 'code: {scheme: frc, s: 1}' 'checkpoint: {every: 15, keep: 2}'
train clean "$work/run.yaml" "$steps" 4
clean=$digest

state=drained
the_coordinator "$state" --config "$work/run.yaml"
some_workers 4 "$stall"
wait_for_line 30 "$state" ' round: step .* step=5 '

# ---- in mid-run ----
kill -TERM "${workers[w1]}"
wait_exit 20 "${workers[w1]}"
expect_equal "exit code of a worker told to leave" "$exit_status" 0
wait_for_line 10 "$state" 'event: is leaving worker=w1'
wait_for_line 10 "$state" 'event: left worker=w1'
grep -q 'event: lost' "$work/$state.log" && fail "a worker that left in order counts as lost"
# Who left may come again, and is the same worker.
a_worker w1 "$stall"
wait_until 20 sh -c "[ \$(grep -c 'event: joined worker=w1' '$work/$state.log') -eq 2 ]"

# ---- nobody answers: the deadline, and a second signal ----
kill -STOP "$coordinator"
kill -TERM "${workers[w2]}"
wait_for_line 10 w2 'leaving: waiting for the coordinator to let go'
kill -0 "${workers[w2]}" || fail "w2 did not wait for the coordinator"
kill -TERM "${workers[w2]}"
wait_exit 10 "${workers[w2]}"
expect_equal "exit code after the second signal" "$exit_status" 0
wait_for_line 1 w2 'told to stop again: leaving at once'
kill -CONT "$coordinator"
a_worker w5 "$stall" --drain-timeout 1s
wait_for_line 20 w5 'working'
kill -STOP "$coordinator"
kill -TERM "${workers[w5]}"
wait_exit 10 "${workers[w5]}" # well before the 25 s that a worker has otherwise
expect_equal "exit code at the deadline" "$exit_status" 0
kill -CONT "$coordinator"

# ---- an idle worker, and one that has not found its coordinator ----
a_worker w6
wait_for_line 20 w6 'ready|working'
stop "${workers[w6]}"
expect_equal "exit code of an idle worker" "$exit_status" 0
a_worker w2 "$stall"
wait_for_end 60
digest=$(params_digest "$state" "$steps")
expect_equal "parameters after all that and of the clean run" "$digest" "$clean"
wait_for_line 20 w1 'lost the coordinator'
stop "${workers[w1]}"
expect_equal "exit code without a coordinator" "$exit_status" 0
echo "drained in mid-run, by a second signal and at the deadline: $digest"
