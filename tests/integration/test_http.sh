#!/bin/bash
# The coordinator's window: it shows what `brigade status` shows, changes nothing without the secret,
# and whatever is done to it the run goes on to the same bits.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
here=$(cd "$(dirname "$0")" && pwd -P)
top=$(cd "$here/../.." && pwd -P)
for tool in curl python3; do
    command -v "$tool" >/dev/null || {
        echo "skipped: there is no $tool"
        exit 77
    }
done
unset BRIGADE_STATE BRIGADE_COORDINATOR BRIGADE_OPERATOR_KEY
coordinator_flags=()
state=c steps=1000
port=$(free_port)
at=http://127.0.0.1:$port

get() { curl -sS --max-time 10 "$@"; }
# code FLAG...: the status of the answer; its body is in $work/body
code() { curl -sS --max-time 10 -o "$work/body" -w '%{http_code}' "$@"; }
expect_code() { # CODE WORDS FLAG...
    local got want=$1 words=$2
    shift 2
    got=$(code "$@")
    [ "$got" = "$want" ] || fail "$*: $got instead of $want: $(cat "$work/body")"
    grep -qF -e "$words" "$work/body" || fail "$*: does not say '$words': $(cat "$work/body")"
}
# value FILTER: of the JSON on standard input, by a Python expression on v
value() { python3 -c 'import json,sys; v=json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }
metric() { get "$at/metrics" | sed -n "s/^$1 //p"; }
run_is() { [ "$(get "$at/api/v1/runs" | value 'v["runs"][0]["state"]')" = "$1" ]; }
four_are_active() { [ "$(metric 'brigade_workers{state="active"}')" = 4 ]; }
post() { # SECRET PATH BODY
    code -H "Authorization: Bearer $1" -H 'Content-Type: application/json' -d "$3" "$at/api/v1/$2"
}

# ---- what the run comes to without a window ----
tiny_mlp "$work/run.yaml" "$steps" 'code: {scheme: frc, s: 1}'
coordinator_flags=(--exit-when-done --http none)
train quiet "$work/run.yaml" "$steps" 4
expected=$digest
rm -f "$work/token"

# ---- it shows ----
coordinator_flags=(--http "127.0.0.1:$port")
the_coordinator "$state" --config "$work/run.yaml"
wait_until 10 get -f "$at/readyz"
expect_equal "mode of the secret" "$(stat -c %a "$work/$state/http.secret")" 600
secret=$(cat "$work/$state/http.secret")
expect_code 200 ok "$at/healthz"
curl -sSN --max-time 170 "$at/api/v1/stream" >"$work/stream" 2>/dev/null &
started+=("$!")
some_workers 4 --fault stall:for=15ms
wait_until 30 grep -q '"points":\[{' "$work/stream"
wait_until 20 four_are_active
[ "$(metric brigade_run_open)" = 1 ] || fail "no run is open: $(get "$at/metrics" | grep run_open)"
expect_equal "build" "$(get "$at/metrics" | grep -c '^brigade_build_info{version="[0-9.]*",compiler=.*} 1$')" 1
expect_code 200 '<title>Brigade' "$at/"
etag=$(curl -sSI "$at/app.js" | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p')
expect_equal "a page that is known" "$(code -H "If-None-Match: $etag" "$at/app.js")" 304
expect_equal "no outside hosts in the page" \
    "$(get "$at/" "$at/app.js" "$at/app.css" | grep -cE '(src|href)="(https?:)?//|@import|fetch\("http' || true)" 0
expect_equal "workers" "$(get "$at/api/v1/workers" | value 'len(v["workers"])')" 4
expect_equal "run" "$(get "$at/api/v1/runs" | value 'v["runs"][0]["name"]')" digits
expect_equal "fields of the status" \
    "$(get "$at/api/v1/status" | value 'sorted(v) + sorted(v["runs"][0]) + sorted(v["workers"][0])')" \
    "$(ask status --json | value 'sorted(v) + sorted(v["runs"][0]) + sorted(v["workers"][0])')"
get "$at/api/v1/events?limit=5" | value 'v["events"][-1]["text"]' >/dev/null
expect_equal "points" "$(get "$at/api/v1/curve?run=digits&from=2&limit=3" | value '[p["step"] for p in v["points"]]')" '[2, 3, 4]'
expect_equal "the same curve" "$(get "$at/api/v1/curve?run=1&from=1&limit=5&format=csv")" \
    "$(ask curve --run 1 --csv | head -n 6)"

# ---- what the board and the rules name is there ----
get "$at/metrics" >"$work/metrics"
while read -r name; do
    grep -qE "^$name(\{| )" "$work/metrics" || fail "$name is named in deploy/ and not in /metrics"
done < <(grep -ohE '\b(brigade|process)_[a-z_]+' "$top"/deploy/grafana/brigade.json \
    "$top"/deploy/prometheus/*.yaml | sort -u)
while read -r name; do
    grep -q "\`$name\`" "$top/docs/METRICS.md" || fail "$name is not in docs/METRICS.md"
done < <(sed -n 's/^# TYPE \([a-z_]*\) .*/\1/p' "$work/metrics")
if command -v promtool >/dev/null; then
    promtool check metrics <"$work/metrics" || fail "promtool does not like /metrics"
    promtool check rules "$top"/deploy/prometheus/brigade.rules.yaml >/dev/null || fail "promtool does not like the rules"
    echo "promtool: metrics and rules are good"
else
    echo "promtool is not there: /metrics was not checked by it"
fi

# ---- it refuses ----
expect_code 421 "host name is not ours" -H 'Host: evil.example.com' "$at/api/v1/status"
expect_code 403 "other sites" -H 'Origin: http://evil.example.com' "$at/api/v1/status"
expect_code 404 "nothing here" "$at/api/v2/status"
expect_code 405 "POST changes" "$at/api/v1/pause"
expect_code 405 "POST changes" -X DELETE "$at/api/v1/runs"
expect_code 400 "no argument x" "$at/api/v1/curve?run=1&x=1"
expect_code 404 "no such run" "$at/api/v1/curve?run=nobody"
expect_code 415 "send JSON" -d '{"run":1}' "$at/api/v1/pause"
expect_code 401 "http.secret" -H 'Content-Type: application/json' -d '{"run":1}' "$at/api/v1/pause"
expect_equal "a wrong secret" "$(post "${secret%?}x" pause '{"run":1}')" 401
expect_equal "another site with the secret" "$(code -H 'Origin: http://evil.example.com' \
    -H "Authorization: Bearer $secret" -H 'Content-Type: application/json' -d '{"run":1}' "$at/api/v1/pause")" 403
head -c 100000 /dev/zero | tr '\0' a >"$work/big"
expect_code 413 "at most 4096" -H 'Content-Type: application/json' -H "Authorization: Bearer $secret" \
    -H 'Expect:' --data-binary "@$work/big" "$at/api/v1/pause"
expect_equal "not JSON" "$(post "$secret" pause 'x')" 400
expect_equal "an unknown worker" "$(post "$secret" revoke '{"worker":"nobody"}')" 404
expect_equal "still under way" "$(get "$at/api/v1/runs" | value 'v["runs"][0]["state"]')" active
for _ in $(seq 40); do post wrong pause '{"run":1}'; echo; done >"$work/guesses"
grep -q 429 "$work/guesses" || fail "40 guesses of the secret were answered at once"

# ---- it changes, with the secret ----
expect_equal "pause" "$(post "$secret" pause '{"run":1}')" 200
wait_until 10 run_is paused
expect_equal "resume" "$(post "$secret" resume '{"run":1}')" 200

# ---- it bears what is done to it ----
before_kb=$(awk '/^VmRSS/ {print $2}' "/proc/$coordinator/status")
"$here/hostile_http.py" "$port" || fail "see above"
after_kb=$(awk '/^VmRSS/ {print $2}' "/proc/$coordinator/status")
[ $((after_kb - before_kb)) -lt 65536 ] || fail "memory rose from $before_kb to $after_kb kB"

wait_until 60 run_is finished
expect_equal "parameters" "$(get "$at/api/v1/runs" | value 'v["runs"][0]["params_digest"]')" "$expected"
[ "$(metric brigade_step_duration_seconds_count)" = "$steps" ] || fail "not every step was counted"

# ---- curves as files ----
ask export-metrics --run digits --out "$work/curve.csv"
expect_equal "lines" "$(wc -l <"$work/curve.csv")" $((steps + 1))
expect_equal "the same curve" "$(b2sum <"$work/curve.csv")" "$(ask curve --run 1 --csv | b2sum)"
ask export-metrics --run 1 --out "$work/curve.json"
expect_equal "JSON" "$(value '[v["run"]["name"], len(v["points"]), len(v["events"]) > 3]' <"$work/curve.json")" \
    "['digits', $steps, True]"
expect_fails 1 "no such run" ask export-metrics --run nobody
expect_fails 64 "csv or json" ask export-metrics --run 1 --format xml

# ---- it leaves at once, though a page listens, and keeps its secret ----
SECONDS=0
stop "$coordinator"
expect_equal "exit status" "$exit_status" 0
[ "$SECONDS" -lt 10 ] || fail "it took $SECONDS s to leave"
the_coordinator "$state"
wait_until 10 get -f "$at/readyz"
expect_equal "secret" "$(cat "$work/$state/http.secret")" "$secret"

# ---- an address that is taken ----
expect_fails 78 "cannot be listened on" "$BRIGADE" coordinator --state "$work/other" \
    --listen "127.0.0.1:$(free_port)" --http "127.0.0.1:$port"
expect_fails 64 "--http" "$BRIGADE" coordinator --state "$work/other" --http '127.0.0.1:x'
stop "$coordinator"
echo "metrics, API and refusals are as documented"
