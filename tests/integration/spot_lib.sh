# spot_lib.sh - a fake metadata service for the tests of preemption notices. Sourced after lib.sh.
# shellcheck shell=bash disable=SC2034,SC2154

if ! command -v python3 >/dev/null; then
    echo "skipped: there is no python3 for the fake metadata service"
    exit 77
fi

# a_cloud NAME KIND: a metadata service of that kind, out of the folder $work/cloud-NAME; sets
# `cloud` (the folder) and `cloud_url`.
a_cloud() {
    local name=$1 kind=$2
    cloud=$work/cloud-$name
    mkdir -p "$cloud"
    echo "$kind" >"$cloud/cloud"
    start "metadata-$name" python3 "$(dirname "$0")/fake_metadata.py" "$cloud"
    wait_until 10 test -s "$cloud/port"
    cloud_url=http://127.0.0.1:$(cat "$cloud/port")
}

# put CLOUD FILE TEXT: as a whole, so that no half of it is ever read.
put() {
    printf '%s' "$3" >"$work/cloud-$1/.new"
    mv "$work/cloud-$1/.new" "$work/cloud-$1/$2"
}

# utc SECONDS: the time that many seconds from now, as AWS writes it; gmt: as Azure does.
utc() { date -u -d "@$(($(date +%s) + $1))" +%Y-%m-%dT%H:%M:%SZ; }
gmt() { date -u -d "@$(($(date +%s) + $1))" '+%a, %d %b %Y %H:%M:%S GMT'; }

aws_action() { printf '{"action": "%s", "time": "%s"}' "$1" "$(utc "$2")"; }

# azure_event TYPE STATUS MACHINE SECONDS: a document with one event; SECONDS '': it has begun.
azure_event() {
    local at=
    [ -z "$4" ] || at=$(gmt "$4")
    printf '{"DocumentIncarnation":2,"Events":[{"EventId":"E1","EventType":"%s",' "$1"
    printf '"ResourceType":"VirtualMachine","Resources":["%s"],"EventStatus":"%s",' "$3" "$2"
    printf '"NotBefore":"%s","EventSource":"Platform","DurationInSeconds":-1}]}' "$at"
}
