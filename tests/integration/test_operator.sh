#!/bin/bash
# What an operator steers changes when a run goes on, never what comes out of it: pauses, restarts
# while it rests, a queue, a run that cannot be opened yet, workers that are sent away and let in again.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
unset BRIGADE_STATE BRIGADE_COORDINATOR BRIGADE_OPERATOR_KEY
coordinator_flags=()
steps=60

run_state() { grep -qE "^ *$1 +[a-z-]+ +$2 " <<<"$(ask runs)"; }
run_step() { sed -nE "s/^ *$1 .* ([0-9]+)\/[0-9]+ .*/\1/p" <<<"$(ask runs)"; }
run_beyond() { [ "$(run_step "$1")" -gt "$2" ]; }
# valid_json COMMAND...: each line it prints is JSON by its grammar: strings, numbers and words become
# values, then arrays and objects of values do, until one value is left.
valid_json() {
    local text
    text=$("$@") || fail "$*: exit code $?"
    text=$(sed -E 's/"([^"\\]|\\.)*"/S/g; s/true|false|null/V/g
        s/-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/V/g; :again
        s/S:[SV]([,}])/P\1/g; t again; s/\{(P(,P)*)?\}/V/g; t again; s/\[([SV](,[SV])*)?\]/V/g; t again' \
        <<<"$text")
    expect_equal "$* as JSON" "$(sort -u <<<"$text")" V
}

tiny_llama "$work/run.yaml" "$steps" 'code: {scheme: frc, s: 1}' 'checkpoint: {every: 25, keep: 2}'
coordinator_flags=(--exit-when-done)
train clean "$work/run.yaml" "$steps" 4
clean=$digest
coordinator_flags=()
rm "$work/token"

# ---- paused, restarted while it rests, resumed ----
state=c
the_coordinator c
some_workers 4 --fault stall:for=30ms
joined_times() { [ "$(grep -c "event: joined worker=$1" "$work/c.log")" -ge "$2" ]; }
wait_until 20 joined_times w1 1
ask submit "$work/run.yaml" >/dev/null
wait_until 30 run_beyond 1 5
ask pause 1 >/dev/null
wait_until 20 run_state 1 paused
rests_at=$(run_step 1)
[ "$rests_at" -lt "$steps" ] || fail "the run ended before it could be paused"
[ -s "$(printf '%s/c/runs/1/checkpoints/ckpt-%010d/manifest.json' "$work" "$rests_at")" ] ||
    fail "a paused run keeps no checkpoint of its step"
expect_fails 1 'is paused' ask pause 1
stop "$coordinator" KILL
the_coordinator c
run_state 1 paused || fail "a restart resumes a paused run"
wait_until 20 joined_times w1 2
expect_equal "step of the paused run" "$(run_step 1)" "$rests_at"
ask resume 1 >/dev/null
wait_until 30 run_beyond 1 "$rests_at"
expect_fails 1 'that cannot be done to it now' ask resume 1

# ---- what is asked for in JSON ----
for verb in "status --json" "runs --json" "workers list --json" "token list --json" \
    "events --json" "curve --run 1 --json" "token create --json"; do
    read -r -a words <<<"$verb"
    valid_json ask "${words[@]}"
done
valid_json "$BRIGADE" validate --json "$work/run.yaml"
valid_json "$BRIGADE" version --json

# ---- a queue: the next run waits, one whose data is gone fails and says why ----
cp "$data/digits.csv" "$work/rows.csv"
tiny_mlp "$work/digits.yaml" 10
sed -i "s|$data/digits.csv|$work/rows.csv|" "$work/digits.yaml"
ask submit "$work/digits.yaml" >/dev/null
run_state 2 queued || fail "two runs are open at once"
mv "$work/rows.csv" "$work/moved.csv"
wait_until 60 run_state 1 finished
expect_equal "parameters of the paused run and of the clean one" "$(params_digest c "$steps")" "$clean"
wait_until 20 run_state 2 failed
ask runs | grep -q 'failed .*rows.csv' || fail "no reason is given: $(ask runs)"
head -c 1000 "$work/moved.csv" >"$work/rows.csv"
printf '1,2,3\n' >>"$work/rows.csv"
ask resume digits >/dev/null
wait_until 20 sh -c "[ \$(grep -c 'run 2 is failed' '$work/c.log') -eq 2 ]"
ask runs | grep -q 'columns' || fail "a torn file is not named as such: $(ask runs)"
cp "$work/moved.csv" "$work/rows.csv"
ask resume digits >/dev/null
wait_until 60 run_state 2 finished

# ---- stopped for good ----
sed 's/^steps: .*/steps: 100000/; s/^run: .*/run: endless/' "$work/run.yaml" >"$work/endless.yaml"
ask submit "$work/endless.yaml" >/dev/null
wait_until 30 run_beyond 3 3
ask stop endless >/dev/null
wait_until 20 run_state 3 stopped
expect_fails 1 'is stopped' ask resume 3
expect_fails 1 'is stopped' ask stop 3

# ---- what happened, in order ----
ask events >"$work/events.txt"
last=0
for text in 'enrolled by a token' 'run 1 is active' 'run 1 is paused' 'run 1 is queued' \
    'run 1 is finished' 'run 2 is failed' 'run 2 is finished' 'run 3 is stopped'; do
    line=$(grep -nF -e "$text" "$work/events.txt" | awk -F: -v l="$last" '$1 > l {print $1; exit}')
    [ -n "$line" ] || fail "events do not say '$text' where they should: $(cat "$work/events.txt")"
    last=$line
done
before=$(wc -l <"$work/events.txt")
stop "$coordinator"
expect_equal "exit code of a coordinator told to leave" "$exit_status" 0
the_coordinator c
[ "$(ask events | wc -l)" -ge "$before" ] || fail "a restart forgets events"
for run in 1 2 3; do
    ! run_state "$run" active || fail "run $run goes on after its end"
done
echo "an operator steered: $clean"
