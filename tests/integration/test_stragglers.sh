#!/bin/bash
# Late, slow and dying workers, made to order: a step does not wait for one of each group, the missing
# units of a group that is late as a whole are attempted again, and the parameters stay the same bits.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
coordinator_flags=()
steps=40

tiny_llama "$work/run.yaml" "$steps" 'code: {scheme: frc, s: 1}' 'min_workers: 4' \
    'timeouts: {task: 5s}'

run_ended() { ask runs | grep -q ' finished '; }
joined() { grep -q "event: joined worker=$1" "$work/$state.log"; }
# number NAME: the first value of this name in the JSON on standard input.
number() { grep -oE "\"$1\":[0-9]+" | head -n 1 | grep -oE '[0-9]+$'; }
# of_worker NAME FIELD: a number of `workers list`.
of_worker() {
    ask workers list --json | grep -oE "\"worker\":\"$1\".*" | number "$2"
}
# finish_like_clean: waits for the end and compares.
finish_like_clean() {
    wait_until 60 run_ended
    digest=$(params_digest "$state" "$steps")
    expect_equal "parameters of $state and of the clean run" "$digest" "$clean"
    waited=$(ask runs --json | number waited_steps)
}
# let_go: nobody of this part is left for the next one.
let_go() {
    dismiss_workers
    stop "$coordinator"
    rm "$work/token"
}

state=clean
the_coordinator clean --config "$work/run.yaml"
some_workers 4
wait_until 60 run_ended
clean=$(params_digest clean "$steps")
let_go

# ---- one of each group stalls in every step ----
# Whoever comes first gets a place in the first group, the next one in the other.
state=stalled
the_coordinator stalled --config "$work/run.yaml"
for name in w1 w2; do
    a_worker "$name" --fault stall:for=3s
    wait_until 20 joined "$name"
done
a_worker w3
a_worker w4
finish_like_clean
for name in w1 w2; do
    expect_equal "shares used of the stalled $name" "$(of_worker "$name" shares_used)" 0
done
[ "$(($(of_worker w3 shares_used) + $(of_worker w4 shares_used)))" -eq $((2 * steps)) ] ||
    fail "w3 and w4 did not do all of it"
# A unit is tried again when its worker takes twice as long as the other group's, which happens to
# be so on a busy machine; for the stalled ones all 40 would be.
[ "$waited" -lt $((steps / 2)) ] || fail "$waited of $steps steps were waited for"
echo "two that stall for 3 s, in different groups: $waited of $steps steps waited; $digest"
let_go

# ---- a rota: two of the four stall in each step, at times all of a group ----
state=rota
the_coordinator rota --config "$work/run.yaml"
for index in 0 1 2 3; do
    a_worker "w$((index + 1))" --fault "stall:for=400ms,pick=2/4,index=$index,seed=5"
done
finish_like_clean
[ "$waited" -gt 0 ] || fail "no step was waited for, although whole groups stalled"
echo "a rota of two in four: $waited of $steps steps waited; $digest"
let_go

# ---- slow ones, and some that die ----
# A step takes milliseconds, and whoever comes to it late is not wanted any more. So no single step
# is fatal, but two in five, and those that live leave time for the others to come to one.
state=dying
the_coordinator dying --config "$work/run.yaml"
a_worker w1 --fault 'die:share=0.4,seed=1'
a_worker w2 --fault 'slow:factor=4;stall:for=50ms'
a_worker w3 --fault 'die:share=0.4,seed=2;slow:factor=2'
a_worker w4 --fault stall:for=50ms
wait_exit 30 "${workers[w1]}"
expect_equal "status of a worker that kills itself" "$exit_status" 137
a_worker w1
wait_exit 30 "${workers[w3]}"
expect_equal "status of a worker that kills itself" "$exit_status" 137
a_worker w3
finish_like_clean
echo "two that die, two that are slow: $waited of $steps steps waited; $digest"
