#!/bin/bash
# Notices of preemption in a live run, one worker a cloud: the coordinator is told why and until
# when, nothing is lost, the worker leaves with 0 well within 25 s, and the run ends with the
# parameters of an undisturbed one.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
. "$(dirname "$0")/spot_lib.sh"
steps=150
stall=--fault=stall:for=120ms

tiny_llama "$work/run.yaml" "$steps" 'code: {scheme: frc, s: 1}' 'checkpoint: {every: 150, keep: 2}'
train clean "$work/run.yaml" "$steps" 4
clean=$digest

state=preempted
the_coordinator "$state" --config "$work/run.yaml"
for kind in aws gcp azure; do
    a_cloud "$kind" "$kind"
    a_worker "on-$kind" "$stall" --spot auto --spot-url "$cloud_url"
done
a_worker on-file "$stall" --spot "file:$work/notice"
for kind in aws gcp azure file; do
    wait_for_line 20 "on-$kind" "spot: listening for notices of preemption source=$kind"
done
a_worker spare-1 "$stall"
a_worker spare-2 "$stall"
wait_for_line 40 "$state" ' round: step .* step=5 '

# preempted NAME CODE REASON: the worker has left with CODE, told why; prints how long that took.
preempted() {
    local name=$1 code=$2 reason=$3 begin_ns end_ns
    begin_ns=$(date +%s%N)
    wait_exit 25 "${workers[$name]}"
    end_ns=$(date +%s%N)
    expect_equal "exit code of $name" "$exit_status" "$code"
    wait_for_line 1 "$name" "spot: leaving: $reason"
    wait_for_line 5 "$state" "event: is leaving worker=$name"
    wait_for_line 5 "$state" "event: left worker=$name"
    echo "$name: from notice to exit $(((end_ns - begin_ns) / 1000000)) ms"
}

# A risk first: it goes on working; then the notice.
put aws rebalance "{\"noticeTime\": \"$(utc 0)\"}"
wait_for_line 15 on-aws 'spot: at risk: AWS recommends to move away from this instance'
process_gone "${workers[on-aws]}" && fail "a worker at risk has left"
put aws action "$(aws_action terminate 119)"
preempted on-aws 0 'AWS will terminate this instance'

put gcp preempted TRUE
preempted on-gcp 0 'GCP preempts this instance'
a_worker spare-3 "$stall"
a_worker spare-4 "$stall"

# Another machine's notice is none of ours; then ours, and the cloud's own SIGTERM right behind it,
# which is not a second signal.
put azure events "$(azure_event Preempt Scheduled vm_2 31)"
put azure skew 0
sleep 2.5 # two looks: there is nothing to see of what does not happen
process_gone "${workers[on-azure]}" && fail "a worker has left because of another machine's notice"
kill -STOP "$coordinator" # so that the hand-over is not done before the signal comes
put azure events "$(azure_event Preempt Scheduled vm_1 31)"
wait_for_line 10 on-azure 'spot: leaving: Azure has announced Preempt for this machine'
kill -TERM "${workers[on-azure]}"
wait_for_line 5 on-azure 'signal: told to stop, as the notice said: still handing over'
process_gone "${workers[on-azure]}" && fail "the cloud's signal cut the hand-over short"
kill -CONT "$coordinator"
preempted on-azure 0 'Azure has announced Preempt for this machine'
grep -q 'told to stop again' "$work/on-azure.log" && fail "the cloud's signal counted as the second"

# A file, gone again while the worker leaves: it comes back when it is started again.
kill -STOP "$coordinator"
echo "action: reclaim" >"$work/notice"
wait_for_line 10 on-file 'spot: leaving: the notice file says that this machine goes: reclaim'
rm "$work/notice"
wait_for_line 10 on-file 'spot: the notice was withdrawn, but the coordinator knows of it'
kill -CONT "$coordinator"
preempted on-file 75 'the notice file says that this machine goes: reclaim'
a_worker on-file "$stall" --spot "file:$work/notice"

wait_for_end 90
grep -q 'event: lost' "$work/$state.log" && fail "a preempted worker counts as lost"
digest=$(params_digest "$state" "$steps")
expect_equal "parameters with four workers preempted and without" "$digest" "$clean"
echo "four workers preempted: $digest"
