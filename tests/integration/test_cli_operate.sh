#!/bin/bash
# What an operator does, with a coordinator and workers: runs are submitted, watched, paused, resumed
# and stopped; workers are let in by token and by key, drained and shut out; and each refusal says
# what to do.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
unset BRIGADE_STATE BRIGADE_COORDINATOR BRIGADE_OPERATOR_KEY
coordinator_flags=()
state=c

# says WORDS COMMAND...: the command must succeed and say WORDS.
says() { expect_fails 0 "$@"; }

# run_state NUMBER STATE, run_at_step NUMBER PATTERN, worker_state NAME STATE: is it so?
run_state() { grep -qE "^ *$1 +[a-z-]+ +$2 " <<<"$(ask runs)"; }
run_at_step() { grep -qE "^ *$1 .* ($2)/" <<<"$(ask runs)"; }
worker_state() { grep -qE "^$1 +$2 " <<<"$(ask workers list)"; }
# changed TEXT COMMAND...: the command says something else now.
changed() {
    local before=$1
    shift
    [ "$("$@")" != "$before" ]
}
# field JSON NAME: the first value of that name.
field() { grep -oE "\"$2\":(\"[^\"]*\"|[^,}]*)" <<<"$1" | head -n 1 | sed -E 's/^[^:]*:"?//; s/"$//'; }

the_coordinator "$state"
state_dir=$work/$state

# ---- an empty coordinator ----
says "no run is under way" ask status
says "workers: 0 in" ask status
says "RUN" ask runs
says "nothing to watch" ask status --watch
says "1 " ask token list
expect_fails 1 "there is no such run" ask pause 1
expect_fails 1 "there is no such run" ask curve --run nothing
expect_fails 1 "there is no run 'nothing'" ask status --watch --run nothing
expect_fails 1 "there is no such worker" ask workers revoke nobody
expect_fails 1 "there is no such token" ask token revoke 99

# ---- a run from beginning to end, watched by a pipe ----
tiny_llama "$work/first.yaml" 40
sed -i 's/^eval: .*/eval: {every: 10, samples: 16}/' "$work/first.yaml"
says "run 1 'tiny' is submitted" ask submit "$work/first.yaml"
wait_until 20 run_state 1 active
says "waiting for workers" ask status
start watch "$BRIGADE" status --watch --every 100ms --state "$state_dir"
watch=$pid
some_workers 4
wait_exit 60 "$watch"
expect_equal "exit status of --watch" "$exit_status" 0
grep -q "run 1 'tiny' finished at step 40 of 40, loss " "$work/watch.log" || fail "--watch names no end"
grep -q "run 1 waiting for workers step 0/40" "$work/watch.log" || fail "--watch names no beginning"
grep -q $'\e' "$work/watch.log" && fail "--watch draws although nobody sees"
json=$(ask runs --json)
expect_equal "state" "$(field "$json" state)" finished
expect_equal "digest" "$(field "$json" params_digest)" "$(params_digest "$state" 40)"
expect_equal "points" "$(ask curve --run tiny --csv | wc -l)" 41
expect_equal "points from 31" "$(ask curve --run 1 --from 31 --csv | wc -l)" 11
grep -q '"points":\[{"step":1,' <<<"$(ask curve --run 1 --json)" || fail "curve --json"
says '"open":null' ask status --json
says "run 1 is finished" ask events
after=$(field "$(ask events --limit 1 --json)" sequence)
expect_equal "events after the last one" "$(ask events --after "$after")" ""
expect_fails 1 "run 1 is finished" ask resume 1

# ---- on a terminal it is drawn in place ----
tiny_llama "$work/drawn.yaml" 200
says "run 2" ask submit "$work/drawn.yaml"
# A bare root may have no pseudo-terminals; then there is nothing to draw on.
if script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
    TERM=xterm script -qec "'$BRIGADE' status --watch --every 100ms --state '$state_dir'" \
        "$work/tty.log" >/dev/null 2>&1 </dev/null || fail "--watch on a terminal"
    grep -q $'\e\[[0-9]*A' "$work/tty.log" || fail "nothing is drawn over"
    grep -qF '[########################] 100 %' "$work/tty.log" ||
        grep -qE '\[#+\.+\] ' "$work/tty.log" || fail "there is no progress bar"
fi
wait_until 30 run_state 2 finished
expect_equal "points over several answers" "$(ask curve --run 2 --csv | wc -l)" 201

# ---- pause, resume, stop ----
tiny_llama "$work/long.yaml" 100000
says "run 3" ask submit "$work/long.yaml"
wait_until 20 run_at_step 3 '[1-9][0-9]*'
says "run 3 is " ask pause 3
wait_until 20 run_state 3 paused
paused=$(ask runs)
says "run 3 is " ask resume 3
wait_until 20 run_state 3 active
wait_until 20 changed "$paused" ask runs
says '"phase":"' ask status --json
open=$(ask status)
grep -qE '^\[[#.]{24}\] +[0-9]+ %  step [0-9]+ of 100000' <<<"$open" || fail "no progress: $open"
grep -qE '^loss [0-9.]+ ' <<<"$open" || fail "no loss: $open"
grep -qE ' tokens/s ' <<<"$open" || fail "no speed: $open"

# ---- workers come and go ----
says "w4 finishes its work and leaves" ask workers drain w4
wait_exit 30 "${workers[w4]}"
expect_equal "exit status of a drained worker" "$exit_status" 0
unset "workers[w4]"
expect_fails 1 "not attached" ask workers drain w4
says "w3 is shut out" ask workers revoke w3
wait_exit 30 "${workers[w3]}"
expect_equal "exit status of a revoked worker" "$exit_status" 69
unset "workers[w3]"
says "revoked" ask workers list
key=$("$BRIGADE" keygen --show "$work/w3/worker.key")
expect_fails 1 "refuses this machine's key" \
    "$BRIGADE" check "$url" --key-file "$work/w3/worker.key" --state "$work"
says "may join" ask workers allow "$key"
start w3 "$BRIGADE" worker --join "$url" --state "$work/w3" --name w3
workers[w3]=$pid
wait_until 20 worker_state w3 active

mkdir -m 700 "$work/lab"
key=$("$BRIGADE" keygen "$work/lab/worker.key")
start lab "$BRIGADE" worker --join "$url" --state "$work/lab"
wait_exit 30 "$pid"
expect_equal "exit status without token and permission" "$exit_status" 69
says "may join" ask workers allow "$key" --name lab
# A key may begin as a flag does.
for dashed in '->5jAU%dS!nu$vOP@[iUAPS@s[[b{&L+pHqpR^R/' '--5jAU%dS!nu$vOP@[iUAPS@s[[b{&L+pHqpR^R/'; do
    says "$dashed may join" ask workers allow "$dashed"
    says "$dashed is shut out" ask workers revoke "$dashed"
done
start lab "$BRIGADE" worker --join "$url" --state "$work/lab"
workers[lab]=$pid
wait_until 20 worker_state lab active

# ---- tokens ----
says "expires" ask token create --out "$work/short" --expires 2s --label short
expect_equal "mode of a token file" "$(stat -c %a "$work/short")" 600
grep -qE '^brg_[A-Za-z0-9_-]{32}$' "$work/short" || fail "no token in its file"
says "brigade worker --join '${url%@*}@" ask token create --label spare --uses 1
says "spare" ask token list
says "token 3 is revoked" ask token revoke 3
says "revoked" ask token list
short_expired() { grep -qE ' short .* expired$' <<<"$(ask token list)"; }
wait_until 10 short_expired
start late "$BRIGADE" worker --join "$url" --token-file "$work/short" --state "$work/late"
wait_exit 30 "$pid"
expect_equal "exit status with an expired token" "$exit_status" 69

# ---- who is no operator ----
"$BRIGADE" keygen "$work/stranger.key" >/dev/null
status=0
said=$("$BRIGADE" stop 3 --coordinator "$url" --operator-key "$work/stranger.key" --timeout 2s \
    2>&1) || status=$?
[ "$status" -eq 69 ] || [ "$status" -eq 75 ] || fail "a stranger got $status: $said"
run_state 3 active || fail "a stranger stopped a run"
says "tiny" "$BRIGADE" runs --coordinator "$url" --operator-key "$state_dir/operator.key"
says "tiny" env BRIGADE_STATE="$state_dir" "$BRIGADE" runs

# ---- check, with something to find ----
says "ok    keys" "$BRIGADE" check "$url" --state "$work" --token-file "$work/token"
other=brigade://$key@${url##*@}
begin=$SECONDS
expect_fails 1 "FAIL  keys" "$BRIGADE" check "$other" --state "$work"
[ $((SECONDS - begin)) -le 7 ] || fail "a wrong key took $((SECONDS - begin)) s"
expect_fails 69 "has another key" "$BRIGADE" runs --coordinator "$other" \
    --operator-key "$state_dir/operator.key"

# ---- a second coordinator in the same place ----
taken=$(sed 's/.*@//' "$state_dir/endpoint")
expect_fails 78 "in use" "$BRIGADE" coordinator --state "$work/second" --listen "$taken"
status=0
"$BRIGADE" coordinator --state "$state_dir" --listen "127.0.0.1:$(free_port)" \
    >"$work/third.log" 2>&1 </dev/null || status=$?
[ "$status" -ne 0 ] || fail "two coordinators share a state folder"
says "run 3" ask status

# ---- the coordinator dies while somebody watches ----
start watch2 "$BRIGADE" status --watch --run 3 --every 100ms --state "$state_dir"
watch=$pid
wait_for_line 10 watch2 "run 3 "
kill -KILL "$coordinator"
wait "$coordinator" 2>/dev/null || true
expect_fails 75 "nobody listens" ask runs
wait_for_line 10 watch2 "waiting: nobody listens"
the_coordinator "$state"
wait_until 30 run_state 3 active
says "run 3 is " ask stop tiny
wait_exit 30 "$watch"
expect_equal "exit status of --watch over a restart" "$exit_status" 0
grep -q "run 3 'tiny' stopped at step" "$work/watch2.log" || fail "--watch names no end"
run_state 3 stopped || fail "run 3 is not stopped"
stop "$coordinator"
expect_equal "exit status of a coordinator told to leave" "$exit_status" 0
echo "an operator's day"
