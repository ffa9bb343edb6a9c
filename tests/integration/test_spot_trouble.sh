#!/bin/bash
# Metadata services that are slow, refuse, lie or break: each costs one sentence and nothing else,
# is found to be well again, and a notice that comes after all is obeyed. The workers here have no
# coordinator: what they do is seen in their logs and by when they leave.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/spot_lib.sh"
nowhere='brigade://0000000000000000000000000000000000000000@127.0.0.1:9'

# listener NAME SOURCE [FLAG...]: a worker that hears of notices at $cloud_url.
declare -A listeners
listener() {
    local name=$1 source=$2
    shift 2
    start "$name" "$BRIGADE" worker --join "$nowhere" --state "$work/state-$name" --name "$name" \
        --spot "$source" "$@"
    listeners[$name]=$pid
}

# leaves NAME REASON: within 15 s and with 0.
leaves() {
    wait_exit 15 "${listeners[$1]}"
    expect_equal "exit code of $1" "$exit_status" 0
    wait_for_line 1 "$1" "spot: leaving: $2"
}

lines() { grep -cE -e "$2" "$work/$1.log" || true; }
not_heard='spot: notices of preemption are not heard'

# ---- what goes wrong, all at once, each with a cloud of its own ----
declare -A says=(
    [401]='refuses the token|answers with the status 401'
    [404]='answers with the status 404'
    [500]='answers with the status 500'
    [garbage]='something that is no token|is not the metadata service|no list Events'
    [huge]='answers more than 65536 bytes'
    [close]='does not answer as a web server does'
    [redirect]='answers with the status 302'
)
for kind in aws gcp azure; do
    for trouble in "${!says[@]}"; do
        name=$kind-$trouble
        a_cloud "$name" "$kind"
        put "$name" trouble "$trouble"
        listener "$name" "$kind" --spot-url "$cloud_url"
    done
done
a_cloud aws-slow aws
put aws-slow trouble slow
listener aws-slow aws --spot-url "$cloud_url"
a_cloud gcp-slow gcp
put gcp-slow trouble slow
listener gcp-slow gcp --spot-url "$cloud_url"
listener nobody aws --spot-url "http://127.0.0.1:9"
listener no-file "file:$work/no/such/folder/notice"
mkdir "$work/a-folder"
listener bad-file "file:$work/a-folder"

for kind in aws gcp azure; do
    for trouble in "${!says[@]}"; do
        # Azure's name is asked for first; garbage there is no name, and the events say what is up.
        wait_for_line 15 "$kind-$trouble" "$not_heard: .*(${says[$trouble]})"
    done
done
wait_for_line 10 aws-slow "$not_heard: .*does not answer; in a container.*hop limit"
wait_for_line 10 gcp-slow "$not_heard: .*does not answer; it is tried again"
wait_for_line 10 nobody "$not_heard: .*cannot be reached"
wait_for_line 10 bad-file "$not_heard: the notice file .* cannot be read"
for name in "${!listeners[@]}"; do
    process_gone "${listeners[$name]}" && fail "$name has left without a notice"
    [ "$(lines "$name" "$not_heard")" -le 2 ] || fail "$name says the same again and again"
done
expect_equal "complaints about a notice file that is not there yet" "$(lines no-file "$not_heard")" 0

# ---- it ends, and a notice is there ----
for kind in aws gcp azure; do
    put "$kind-500" trouble none
    wait_for_line 25 "$kind-500" 'spot: notices of preemption are heard again'
done
put aws-500 action "$(aws_action stop 119)"
put gcp-500 preempted TRUE
put azure-500 events "$(azure_event Preempt Started vm_1 '')"
leaves aws-500 'AWS will stop this instance'
leaves gcp-500 'GCP preempts this instance'
leaves azure-500 'Azure has announced Preempt'

# ---- a worker that waits for a service that hangs still leaves at once when it is told to ----
begin_s=$SECONDS
stop "${listeners[aws-slow]}"
stop "${listeners[gcp-slow]}"
expect_equal "exit code while a request hangs" "$exit_status" 0
[ $((SECONDS - begin_s)) -le 3 ] || fail "a request that hangs held the worker up"

# ---- tokens that no longer count are replaced without a word ----
a_cloud old aws
listener old auto --spot-url "$cloud_url"
wait_until 10 grep -q instance-action "$cloud/requests"
put old trouble old-token
wait_until 15 test -s "$cloud/refused"
put old action "$(aws_action hibernate 0)"
leaves old 'AWS will hibernate this instance'
expect_equal "complaints about an old token" "$(lines old "$not_heard")" 0
[ "$(grep -c 'PUT /latest/api/token' "$cloud/requests")" -eq 2 ] || fail "no token was renewed"

# ---- clocks that disagree: the service's own counts ----
for skew in -7200 7200; do
    a_cloud "skew$skew" azure
    put "skew$skew" skew "$skew"
    put "skew$skew" events "$(azure_event Reboot Scheduled vm_1 $((skew + 900)))"
    listener "skew$skew" auto --spot-url "$cloud_url"
done
for skew in -7200 7200; do
    wait_for_line 10 "skew$skew" 'spot: Azure has announced Reboot for this machine, in (8[89][0-9]|900) s'
done

# ---- notices that are withdrawn, of another machine, and two at once ----
put skew7200 events '{"DocumentIncarnation":4,"Events":[]}'
wait_for_line 10 skew7200 'spot: the notice was withdrawn, and nothing has happened'
put skew7200 events "$(azure_event Preempt Scheduled vm_77 7231)"
sleep 2.5 # two looks at another machine's notice
process_gone "${listeners[skew7200]}" && fail "it has left because of another machine's notice"
put skew-7200 events "$(azure_event Preempt Scheduled vm_1 -7169)" # a second one, and earlier
leaves skew-7200 'Azure has announced Reboot|Azure has announced Preempt'

# ---- nowhere to ask: one sentence, and only signals count from then on ----
listener lost auto --spot-url "http://127.0.0.1:9"
wait_for_line 25 lost 'only signals will announce the end of this machine'
stop "${listeners[lost]}"
expect_equal "exit code by a signal" "$exit_status" 0
expect_fails 64 'must be auto, aws, gcp' "$BRIGADE" worker --join "$nowhere" --spot ibm
expect_fails 64 'must begin with http://' "$BRIGADE" worker --join "$nowhere" --spot-url ftp://x
echo "$((${#listeners[@]})) workers with ${#says[@]} kinds of trouble: each had its sentence"
