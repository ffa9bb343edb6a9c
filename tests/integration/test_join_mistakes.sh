#!/bin/bash
# The mistakes that people make when they join, each with its own sentence within 10 seconds. The two
# machines are network namespaces, so that a firewall can drop what it likes.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/netns_lib.sh"

start coordinator on first \
    "brigade coordinator --announce 192.0.2.10:7420 --token-out token --lease 2s --beat 200ms"
wait_for_line 20 coordinator 'brigade://.*@192\.0\.2\.10:7420'
wait_until 20 test -s "$work/first/token"
url=$(grep -o 'brigade://.*@192\.0\.2\.10:7420' "$work/coordinator.log" | head -n 1)
key=${url#brigade://}
key=${key%@*}
cp "$work/first/token" "$work/second/token"

# said STATUS WORDS COMMAND: on the second machine, it must say WORDS within 10 s.
mistakes=0
said() {
    local status=$1 words=$2 got=0 output begin_s=$SECONDS
    shift 2
    output=$(timeout 12 ip netns exec "$second_ns" env -u XDG_STATE_HOME HOME="$work/second" \
        "$@" 2>&1 </dev/null) || got=$?
    [ "$got" -eq "$status" ] || fail "$*: left with $got instead of $status: $output"
    grep -qE -e "$words" <<<"$output" || fail "$*: does not say '$words': $output"
    [ $((SECONDS - begin_s)) -le 10 ] || fail "$*: took more than 10 s"
    mistakes=$((mistakes + 1))
}

said 0 '^ready to join' "$BRIGADE" check --join "$url" --token-file "$work/second/token"
said 0 '^ok +version +both speak the same protocol' "$BRIGADE" check --join "$url"

# Wrong host, wrong port, wrong key.
other=$("$BRIGADE" keygen "$work/other.key")
[ -n "$other" ] || fail "keygen shows no key"
said 1 "FAIL  name +the name 'frist.invalid' cannot be resolved" \
    "$BRIGADE" check --join "brigade://$key@frist.invalid:7420"
said 1 'FAIL  tcp +nobody listens at 192.0.2.10:7421' \
    "$BRIGADE" check --join "brigade://$key@192.0.2.10:7421"
said 1 'FAIL  keys +who listens there does not hold the key' \
    "$BRIGADE" check --join "brigade://$other@192.0.2.10:7420"
said 1 'FAIL  url +the join URL has no key of 40 characters' \
    "$BRIGADE" check --join "brigade://KEY@192.0.2.10:7420"

# A token that has expired, and one of nobody.
on first "brigade token create --expires 1s --out expired" >/dev/null
cp "$work/first/expired" "$work/second/expired"
sleep 1.5 # a second must pass, so that it has expired
said 69 'the join token has expired or has been used up' \
    "$BRIGADE" worker --join "$url" --token-file "$work/second/expired" --state "$work/second/w0"
said 69 'does not know this worker.s key: give it a join token' \
    "$BRIGADE" worker --join "$url" --state "$work/second/w1"
echo "brg_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" >"$work/second/foreign"
said 69 'the coordinator does not know this join token' \
    "$BRIGADE" worker --join "$url" --token-file "$work/second/foreign" --state "$work/second/w2"

# A disk without room.
mkdir "$work/full"
mount -t tmpfs -o size=64k none "$work/full"
dd if=/dev/zero of="$work/full/filler" bs=4k 2>/dev/null || true
full=0
said 1 'FAIL  disk +.* cannot be written to: No space left on device' \
    "$BRIGADE" check --join "$url" --state "$work/full/state" || full=1
umount "$work/full"
[ "$full" -eq 0 ] || exit 1

# Two workers with the same key: the older is told so.
start older ip netns exec "$second_ns" "$BRIGADE" worker --join "$url" \
    --token-file "$work/second/token" --state "$work/second/w3" --name twin
older=$pid
wait_for_line 20 older 'attached'
mkdir -m 700 "$work/second/w4"
cp -p "$work"/second/w3/*.key "$work/second/w4/"
start newer ip netns exec "$second_ns" "$BRIGADE" worker --join "$url" --state "$work/second/w4"
wait_exit 10 "$older"
expect_equal "exit code of the older twin" "$exit_status" 69
grep -q 'another process has joined with the same key' "$work/older.log" || fail "the twin is not told"
mistakes=$((mistakes + 1))

# A firewall that drops in silence.
if ip netns exec "$first_ns" iptables -A INPUT -i cable -p tcp --dport 7420 -j DROP 2>/dev/null; then
    said 1 'FAIL  tcp +no answer from 192.0.2.10:7420 within 5 s' "$BRIGADE" check --join "$url"
else
    echo "without iptables: the firewall that drops in silence was not tried"
fi
echo "$((mistakes - 2)) mistakes, each with its sentence"
