#!/bin/bash
# docs/JOIN.md, followed word for word: its blocks "sh first" and "sh second" are run on two machines,
# which are two network namespaces. Only KEY is filled in, as its reader would.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
. "$(dirname "$0")/netns_lib.sh"
doc=$(dirname "$0")/../../docs/JOIN.md
tiny_llama "$work/first/run.yaml" 30 'code: {scheme: frc, s: 1}' 'min_workers: 1'
key=

# block INFO COMMANDS: the lines of one fenced block.
followed=0
block() {
    local machine=${1%% *} lines=$2
    lines=${lines//KEY@/"$key@"} # quoted: a key may hold what bash would replace
    followed=$((followed + 1))
    case $1 in
    *background)
        start "$machine-$followed" on "$machine" "$lines"
        if [ "$machine" = first ]; then
            wait_until 20 test -s "$work/first/token"
            wait_for_line 20 "$machine-$followed" 'brigade://.*@192\.0\.2\.10:7420'
            key=$(grep -o 'brigade://.*@192\.0\.2\.10:7420' "$work/$machine-$followed.log" | head -n 1)
            key=${key#brigade://}
            key=${key%@*}
            cp "$work/first/token" "$work/second/token" # as scp would
            chmod 600 "$work/second/token"
        else
            wait_for_line 20 "$machine-$followed" 'attached'
        fi
        ;;
    *)
        while IFS= read -r line; do
            on "$machine" "$line" >"$work/said.log" 2>&1 || fail "$machine: $line: $(cat "$work/said.log")"
            cat "$work/said.log" >>"$work/all.log"
        done <<<"$lines"
        ;;
    esac
}

info='' lines=''
while IFS= read -r line <&3; do
    case $line in
    '```sh first'* | '```sh second'*) info=${line#'```sh '} lines='' ;;
    '```')
        [ -z "$info" ] || block "$info" "$lines"
        info=''
        ;;
    *) [ -z "$info" ] || lines=$lines${lines:+$'\n'}$line ;;
    esac
done 3<"$doc"

[ "$followed" -eq 4 ] || fail "$followed blocks were followed instead of 4"
grep -q '^ready to join' "$work/all.log" || fail "check does not say: ready to join"
grep -q second "$work/all.log" || fail "the worker is not in the list"
finished() { on first 'brigade runs --json' | grep -q '"state":"finished"'; }
wait_until 60 finished
echo "followed docs/JOIN.md: $followed blocks, two machines, a run of 30 steps"
