# lib.sh - what integration tests share. Sourced by bash; expects BRIGADE, the program under test.
#
# A test works in a folder of its own ($work), ends every process it started whatever happens, and
# waits for conditions with a bound, never for a fixed time.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
export LC_ALL=C
: "${BRIGADE:?set BRIGADE to the program under test, as ctest does}"
data=${BRG_DATA:-$(cd "$(dirname "$0")/../.." && pwd -P)/build/data} # see cmake/setup.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/brigade-test.XXXXXX")
started=()

clean_up() {
    local status=$? pid
    trap - EXIT
    for pid in "${started[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
        tail -n 40 "$work"/*.log 2>/dev/null || true
        echo "status $status"
    fi
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

fail() {
    echo "FAILED (line ${BASH_LINENO[-2]}): $*" >&2
    exit 1
}

# start NAME COMMAND...: runs it in the background with its output in $work/NAME.log; sets `pid`.
start() {
    local name=$1
    shift
    "$@" >>"$work/$name.log" 2>&1 </dev/null &
    pid=$!
    started+=("$pid")
}

# wait_until SECONDS COMMAND...: until the command succeeds; fails the test at the bound.
wait_until() {
    local bound_s=$1 deadline_s=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -le "$deadline_s" ] || fail "not within $bound_s s: $*"
        sleep 0.05
    done
}

# wait_for_line SECONDS NAME PATTERN: until $work/NAME.log holds a line that matches.
wait_for_line() { wait_until "$1" grep -qE -e "$3" "$work/$2.log"; }

# wait_exit SECONDS PID: until it has ended; sets `exit_status`.
wait_exit() {
    wait_until "$1" process_gone "$2"
    exit_status=0
    wait "$2" || exit_status=$?
}

# bash reaps its children as they end and keeps the status for wait: no zombie is left to see.
process_gone() { ! kill -0 "$1" 2>/dev/null; }

# stop PID [SIGNAL]: sends the signal (TERM if none) and waits until the process has ended.
stop() {
    kill "-${2:-TERM}" "$1"
    wait_exit 30 "$1"
}

# free_port: a TCP port of the loopback that nobody listens on right now.
free_port() {
    local port try
    for try in $(seq 100); do
        port=$((20000 + (RANDOM + try) % 12000))
        # Opening the connection fails where nobody listens: such a port is free.
        if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return 0
        fi
    done
    fail "no free port found"
}

# expect_fails STATUS WORDS COMMAND...: the command must exit with STATUS and say WORDS.
expect_fails() {
    local status=$1 words=$2 got=0 output
    shift 2
    output=$("$@" 2>&1 </dev/null) || got=$?
    [ "$got" -eq "$status" ] || fail "$*: exit status $got instead of $status: $output"
    grep -qF -e "$words" <<<"$output" || fail "$*: does not say '$words': $output"
}

# expect_equal WHAT A B
expect_equal() { [ "$2" = "$3" ] || fail "$1: '$2' and '$3' differ"; }
