#!/bin/bash
# Who may not take part is told why in one sentence, by an exit code that says "do not restart me",
# and changes nothing: the run goes on to the parameters it would have had.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
steps=150
state=run

tiny_llama "$work/run.yaml" "$steps" 'code: {scheme: frc, s: 1}'
train clean "$work/run.yaml" "$steps" 4
clean=$digest

# Another coordinator, for tokens and keys of somebody else; it has left when it is needed.
coordinator_flags=()
rm "$work/token"
the_coordinator other
mv "$work/token" "$work/foreign"
foreign_key=${url%@*}
stop "$coordinator"

coordinator_flags=(--exit-when-done)
the_coordinator "$state" --config "$work/run.yaml"
some_workers 4 --fault stall:for=150ms
wait_for_line 30 "$state" ' round: step .* step=3 '

# refused NAME STATUS WORDS [FLAG...]: a worker of this name leaves with STATUS; its last line, and
# no other one, complains and says WORDS.
refused() {
    local name=$1 status=$2 words=$3
    shift 3
    start "$name" "$BRIGADE" worker --join "$url" --state "$work/$name" --name "$name" "$@"
    wait_exit 20 "$pid"
    expect_equal "exit code of worker $name: $(tail -n 1 "$work/$name.log")" "$exit_status" "$status"
    told_once "$name" "$words"
}
told_once() {
    tail -n 1 "$work/$1.log" | grep -qF -e "$2" || fail "$1 does not end with '$2'"
    expect_equal "sentences of worker $1" "$(grep -cF -e "$2" "$work/$1.log")" 1
}

# ---- tokens ----
refused no_token 69 "does not know this worker's key"
refused foreign_token 69 'does not know this join token' --token-file "$work/foreign"
ask token create --expires 1s --out "$work/short" >/dev/null
ask token create --uses 1 --out "$work/single" >/dev/null
ask token create --out "$work/withdrawn" >/dev/null
ask token revoke 4 >/dev/null
refused revoked_token 69 'join token was revoked' --token-file "$work/withdrawn"
start single "$BRIGADE" worker --join "$url" --state "$work/single_use" --name single --fault stall:for=150ms \
    --token-file "$work/single"
single=$pid
wait_for_line 20 "$state" 'event: joined worker=single'
refused used_up 69 'has been used up' --token-file "$work/single"
expired() { ask token list | grep -q ' expired$'; }
wait_until 10 expired
refused expired_token 69 'has expired' --token-file "$work/short"
echo 'brg_short' >"$work/torn"
refused torn_token 78 'torn' --token-file "$work/torn"

# ---- keys ----
wait_for_line 20 w4 working
ask workers revoke w4 >/dev/null
wait_exit 20 "${workers[w4]}"
expect_equal "exit code of a worker revoked in mid-run" "$exit_status" 69
told_once w4 "key was revoked by the operator"
start again "$BRIGADE" worker --join "$url" --state "$work/w4" --token-file "$work/token" \
    --give-up 3s
wait_exit 20 "$pid"
expect_equal "exit code of a revoked worker that comes again" "$exit_status" 69
tail -n 1 "$work/again.log" | grep -q 'refuse' || fail "a revoked worker is not told so"
# The server's key is wrong: whoever answers there is not the coordinator that was meant.
start wrong_server "$BRIGADE" worker --join "$foreign_key@${url##*@}" --state "$work/wrong" \
    --token-file "$work/token" --give-up 3s
wait_exit 20 "$pid"
[ "$exit_status" -ne 0 ] || fail "a worker works for a coordinator with another key"
tail -n 1 "$work/wrong_server.log" | grep -q 'key' || fail "a wrong server key is not named"
expect_fails 69 'has another key' "$BRIGADE" runs --coordinator "$foreign_key@${url##*@}" \
    --operator-key "$work/$state/operator.key"
"$BRIGADE" keygen "$work/stranger.key" >/dev/null
expect_fails 69 'operator' "$BRIGADE" stop 1 --coordinator "$url" \
    --operator-key "$work/stranger.key"
chmod 644 "$work/stranger.key"
expect_fails 78 'stranger.key' "$BRIGADE" runs --coordinator "$url" \
    --operator-key "$work/stranger.key"
# Two processes with one key: the later one stays, the earlier is told what happened.
cp -r "$work/w3" "$work/copied"
start copied "$BRIGADE" worker --join "$url" --state "$work/copied" --name copied
workers[copied]=$pid
wait_exit 20 "${workers[w3]}"
expect_equal "exit code of a worker whose key folder was copied" "$exit_status" 69
told_once w3 'another process has joined with the same key'
kill -0 "${workers[copied]}" || fail "both processes with the same key have left"
expect_fails 78 'another worker runs' "$BRIGADE" worker --join "$url" --state "$work/copied"

# ---- what was spent or taken away stays so when the coordinator dies ----
stop "$coordinator" KILL
the_coordinator "$state"
refused used_up_again 69 'has been used up' --token-file "$work/single"
refused revoked_again 69 'join token was revoked' --token-file "$work/withdrawn"
start outside "$BRIGADE" worker --join "$url" --state "$work/w4" --token-file "$work/token" \
    --give-up 2s
wait_exit 20 "$pid"
expect_equal "exit code of a revoked worker after a restart" "$exit_status" 69

# ---- who does not even speak the protocol ----
port=${url##*:}
# In processes of their own: whoever writes to a connection that was dropped may die of it.
send() (
    set +e
    exec 5<>"/dev/tcp/127.0.0.1/$port" 2>/dev/null
    cat >&5 2>/dev/null
    timeout 1 cat <&5 >/dev/null 2>&1
    true
)
for bytes in 1 9 64 1000 1000000; do
    head -c "$bytes" /dev/urandom >"$work/garbage"
    send <"$work/garbage"
done
printf 'GET / HTTP/1.1\r\nHost: x\r\n\r\n' | send
# A greeting of ZeroMQ that asks for no encryption, and then silence.
printf '\377\0\0\0\0\0\0\0\001\177\003\0NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' | send
# Connections that say nothing at all, kept open over the rest of the run.
for fd in $(seq 20 60); do eval "exec $fd<>/dev/tcp/127.0.0.1/$port"; done

kill -0 "$coordinator" || fail "the coordinator has left"
stop "$single"
wait_for_end 60
digest=$(params_digest "$state" "$steps")
expect_equal "parameters after all that and of the clean run" "$digest" "$clean"
echo "nobody got in or in between: $digest"
