#!/bin/bash
# The page as people see it, in a real browser: 16 workers of which one is slow, one leaves; wide and
# on a phone, light and dark, by keyboard, over a restart of the coordinator.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
here=$(cd "$(dirname "$0")" && pwd -P)
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$browser" ] || ! command -v python3 >/dev/null; then
    echo "skipped: the page needs chromium and python3 to be looked at"
    exit 77
fi
unset BRIGADE_STATE BRIGADE_COORDINATOR BRIGADE_OPERATOR_KEY
port=$(free_port)
at=http://127.0.0.1:$port
lease=5s beat=500ms
coordinator_flags=(--http "127.0.0.1:$port")
cat >"$work/run.yaml" <<YAML
run: digits
model: {type: mlp, inputs: 64, classes: 10, hidden: [32]}
data: {train: $data/digits.csv, held_out: 20%}
batch: {samples: 64, chunks: 16}
optimizer: {type: adamw, lr: 3e-3, warmup: 5}
steps: 100000
seed: 7
workers: 16
code: {scheme: frc, s: 1, policy: minwait}
YAML
the_coordinator c --config "$work/run.yaml"
for i in $(seq 16); do
    stall=$((30 + i))
    [ "$i" -ne 5 ] || stall=2000
    a_worker "node-$i" --fault "stall:for=${stall}ms"
done

# The browser takes commands by one pipe and answers by another, a line each.
mkfifo "$work/to" "$work/from"
timeout 150 "$here/browser.py" "$browser" "$at" <"$work/to" >"$work/from" 2>"$work/browser.log" &
started+=("$!")
exec 7>"$work/to" 8<"$work/from"
say() { # COMMAND: sets `answer`
    echo "$*" >&7
    IFS= read -r -t 40 answer <&8 || fail "the browser does not answer: $*"
}
do_it() {
    say "$*"
    [ "$answer" = ok ] || fail "$*: $answer"
}
shows() { # SECONDS EXPRESSION
    say "wait $*"
    [ "$answer" = ok ] || fail "the page does not come to: $* ($answer)"
}
text='document.body.innerText'
shot() { [ -z "${BRG_SHOTS:-}" ] || do_it "shot $BRG_SHOTS/$1.png"; }

do_it size 1280 1500
do_it light
do_it open "$at/"
shows 20 "document.querySelectorAll('#workers tbody tr').length === 16"
shows 20 "document.querySelector('#loss canvas') && document.querySelector('#pace canvas') !== null"
shows 20 "$text.includes('digits') && $text.includes('code frc')"
shows 5 "document.getElementById('link').textContent === 'live'"
# The slow one stands out, and nobody else does.
shows 20 "[...document.querySelectorAll('tr.straggler td:first-child')].map(e => e.textContent).join() === 'node-5'"
shows 5 "document.getElementById('events').innerText.includes('node-7')"
# It moves by itself.
say "eval document.querySelector('#tiles dd').textContent"
before=$answer
shows 10 "JSON.stringify(document.querySelector('#tiles dd').textContent) !== '${before//\'/}'"
kill_worker node-9
shows 20 "[...document.querySelectorAll('#workers tbody tr')].some(r => r.innerText.includes('node-9') && r.innerText.includes('lost'))"
shows 10 "[...document.querySelectorAll('#events .bad')].some(e => e.textContent.includes('node-9'))"
shows 5 "document.getElementById('stages').hidden && document.getElementById('ledger-box').hidden"
say "eval new Promise(r => setTimeout(() => r(0), 3000))"
shot wide
do_it dark
shows 5 "getComputedStyle(document.body).backgroundColor === 'rgb(17, 21, 28)'"
shot wide-dark
do_it size 390 844
shows 5 "document.documentElement.scrollWidth <= innerWidth"
shows 5 "document.querySelector('#loss canvas').getBoundingClientRect().right <= innerWidth"
shot phone
do_it light

# By keyboard: the first stop skips to the figures, the next is the switch of colours.
do_it key Tab
shows 2 "document.activeElement.className === 'skip'"
do_it key Tab
shows 2 "document.activeElement.id === 'theme'"
do_it key Enter
shows 5 "document.documentElement.dataset.theme === 'dark'"

# No buttons without the secret; a wrong one is refused in words; the right one pauses the run.
shows 2 "document.querySelectorAll('#workers tbody button').length === 0"
use="document.getElementById('operate').open = true; document.getElementById('key').value = 'SECRET'; document.querySelector('#key-form button').click(); true"
say "eval ${use/SECRET/wrong}"
shows 5 "document.querySelectorAll('#workers tbody button').length === 32"
say "eval document.querySelector('#run-buttons button').click()"
shows 5 "document.getElementById('said').textContent.includes('secret')"
say "eval ${use/SECRET/$(cat "$work/c/http.secret")}"
shows 5 "document.querySelector('#run-buttons').hidden === false"
say "eval document.querySelector('#run-buttons button').click()"
shows 10 "document.getElementById('said').textContent === 'pause: done'"
shows 10 "document.querySelector('#run-buttons button').textContent === 'resume'"

# The coordinator goes and comes: the page says so, and is back by itself.
kill -KILL "$coordinator"
wait_exit 10 "$coordinator"
shows 10 "document.getElementById('link').textContent.includes('away')"
the_coordinator c
shows 20 "document.getElementById('link').textContent === 'live'"
say problems
grep -vE '^\[\]$' <<<"$answer" | grep -oE '"[^"]*"' | grep -vE 'ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|401 ' >"$work/problems" || true
[ ! -s "$work/problems" ] || fail "the page has problems: $(cat "$work/problems")"
exec 7>&-
echo "the page shows what it should at 1280 and 390 pixels, light and dark"
