#!/usr/bin/env bash
# test_cli_faults.sh - bad input that needs no coordinator to be seen: run files, keys, data files,
# values of flags, and join URLs that lead nowhere.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$work"
unset BRIGADE_STATE BRIGADE_COORDINATOR BRIGADE_OPERATOR_KEY XDG_STATE_HOME
export HOME=$work/home
mkdir "$HOME"

# ---- run files ----
for n in $(seq 400); do echo "line $n of a text that is not made for reading"; done >text.txt
cat >good.yaml <<'YAML'
run: good
model: {type: llama, dim: 32, layers: 1, heads: 2, context: 16}
data: {train: text.txt, held_out: 5%}
batch: {sequences: 8, chunks: 4}
optimizer: {lr: 1e-3}
steps: 10
workers: 4
YAML
"$BRIGADE" validate good.yaml >good.log || fail "a good file is refused"
grep -q "good.yaml can be submitted" good.log || fail "validate does not say so"
grep -q "bigram" good.log || fail "validate names no bar"
grep -q '"valid":true' <<<"$("$BRIGADE" validate --json good.yaml)" || fail "validate --json"

cat >bad.yaml <<'YAML'
run: bad
kindd: coded
steps: 0
seed: -1
model: {type: llama, dim: 32, layers: 1, heads: 2, context: 16}
data: {train: missing.txt}
batch: {sequences: 8, chunks: 4}
optimizer: {lr: 1e-3}
workers: 4
code: {s: 4}
timeouts: {task: 30}
YAML
status=0
"$BRIGADE" validate bad.yaml >bad.out 2>bad.err || status=$?
expect_equal "status of a bad file" "$status" 78
for fault in 'bad.yaml:2: kindd: .*did you mean kind' 'bad.yaml:3: steps: ' 'bad.yaml:4: seed: ' \
    'bad.yaml:6: data.train: ' 'bad.yaml:10: code.s: ' 'bad.yaml:11: timeouts.task: '; do
    grep -qE "^$fault" bad.err || fail "not all faults are listed: $fault: $(cat bad.err)"
done
expect_equal "faults" "$(wc -l <bad.err)" 6
expect_equal "a bad file explains nothing" "$(cat bad.out)" ""
json=$("$BRIGADE" validate --json bad.yaml) && fail "validate --json of a bad file succeeds"
grep -q '"line":10,"key":"code.s"' <<<"$json" || fail "faults as JSON: $json"
expect_fails 78 "bad.yaml:10: code.s" "$BRIGADE" submit bad.yaml
expect_fails 78 "bad.yaml:10: code.s" "$BRIGADE" coordinator --config bad.yaml --state refused
[ ! -e refused ] || fail "a coordinator with a bad run file made its state folder"
expect_fails 78 "none.yaml: cannot be read: No such file" "$BRIGADE" validate none.yaml
sed 's/train: text.txt/train: missing.txt/' good.yaml >elsewhere.yaml
"$BRIGADE" validate --offline elsewhere.yaml >offline.log || fail "--offline looks at data"
sed 's/context: 16/context: 30000/' good.yaml >long.yaml
expect_fails 78 "long.yaml: data: " "$BRIGADE" validate long.yaml

# ---- keys ----
key=$("$BRIGADE" keygen worker.key)
expect_equal "mode of a key file" "$(stat -c %a worker.key)" 600
expect_equal "length of a key" "${#key}" 40
before=$(cksum worker.key)
expect_fails 78 "never overwritten" "$BRIGADE" keygen worker.key
expect_equal "the key after a refusal" "$(cksum worker.key)" "$before"
expect_equal "the key shown" "$("$BRIGADE" keygen --show worker.key)" "$key"
chmod 644 worker.key
expect_fails 78 "chmod 600" "$BRIGADE" keygen --show worker.key
head -c 60 worker.key >short.key
chmod 600 short.key
expect_fails 78 "no Brigade key file" "$BRIGADE" keygen --show short.key
expect_fails 78 "No such file" "$BRIGADE" keygen no/such/folder.key
expect_fails 64 "has 40 characters" "$BRIGADE" workers allow too-short

# ---- data ----
"$BRIGADE" data prepare --out set text.txt >prepare.log || fail "data prepare"
grep -q "bigram" prepare.log || fail "data prepare names no bar"
for file in set_train.bin set_val.bin set.json; do [ -s "$file" ] || fail "no $file"; done
sed 's/train: text.txt, held_out: 5%/format: shard, train: set_train.bin, test: set_val.bin/' \
    good.yaml >shards.yaml
digest() { grep -o '"digest":"[0-9a-f]*"' <<<"$1"; }
expect_equal "digest of shards and of the run that reads them" \
    "$(digest "$("$BRIGADE" validate --json shards.yaml)")" \
    "$(digest "$("$BRIGADE" data prepare --json --out again text.txt)")"
expect_fails 78 "No such file" "$BRIGADE" data prepare --out x none.txt
: >empty.txt
expect_fails 78 "empty" "$BRIGADE" data prepare --out x empty.txt
head -c 1100 set_train.bin >cut.bin
expect_fails 65 "cut.bin" "$BRIGADE" data prepare --format shard --out x.brgdata cut.bin
gzip -c text.txt | head -c 300 >cut.txt.gz
expect_fails 65 "cut.txt.gz" "$BRIGADE" data prepare --out x cut.txt.gz
printf '1,2,0\n1,two,1\n' >words.csv
expect_fails 65 "words.csv" "$BRIGADE" data prepare --format csv --out x.brgdata words.csv
expect_fails 64 "did you mean csv" "$BRIGADE" data prepare --format cvs --out x words.csv
expect_fails 64 "--labels FILE is missing" "$BRIGADE" data prepare --format idx --out x words.csv
expect_fails 64 "only texts are joined" "$BRIGADE" data prepare --format csv --out x words.csv b.csv
expect_fails 64 "--out NAME is missing" "$BRIGADE" data prepare text.txt
expect_fails 64 "over 50%" "$BRIGADE" data prepare --out x --held-out 60% text.txt
for file in x_train.bin x.json x.brgdata x.brgdata.json; do
    [ ! -e "$file" ] || fail "a refused data set left $file"
done

# ---- values of flags and of the environment ----
expect_fails 64 "--lease is '10'; it must be a number with its unit" \
    "$BRIGADE" coordinator --lease 10
expect_fails 64 "BRIGADE_BEAT is 'often' in the environment" \
    env BRIGADE_BEAT=often "$BRIGADE" coordinator
expect_fails 64 "at least 3 times --beat" "$BRIGADE" coordinator --lease 2s --beat 1s
expect_fails 64 "--listen: " "$BRIGADE" coordinator --listen host:99999
expect_fails 64 "--log-level is 'loud'" "$BRIGADE" coordinator --log-level loud
expect_fails 64 "a whole number from 1 to 1000" "$BRIGADE" events --limit 0
expect_fails 64 "exclude each other" "$BRIGADE" curve --run 1 --json --csv
expect_fails 64 "--run RUN is missing" "$BRIGADE" curve
expect_fails 64 "is no number of a token" "$BRIGADE" token revoke first

# ---- nobody there ----
url="brigade://$key@127.0.0.1:$(free_port)"
expect_fails 78 "no coordinator has run with the state folder $HOME/.local/state" "$BRIGADE" status
expect_fails 64 "--coordinator needs --operator-key" "$BRIGADE" status --coordinator "$url"
chmod 600 worker.key
begin=$SECONDS
expect_fails 75 "nobody listens at 127.0.0.1" \
    "$BRIGADE" status --coordinator "$url" --operator-key worker.key
[ $((SECONDS - begin)) -le 8 ] || fail "a closed port took $((SECONDS - begin)) s to be noticed"
mkdir damaged
echo 'brigade://broken' >damaged/endpoint
expect_fails 78 "damaged/endpoint is damaged" "$BRIGADE" runs --state damaged

# ---- check ----
"$BRIGADE" check --state "$work" >check.log || fail "this machine is not ready: $(cat check.log)"
for thing in processor memory disk clock; do
    grep -qE "^(ok|warn) +$thing " check.log || fail "check says nothing about $thing"
done
expect_fails 1 "FAIL  tcp" "$BRIGADE" check "$url"
expect_fails 1 "nobody listens at 127.0.0.1" "$BRIGADE" check "$url"
expect_fails 1 "-     keys       not tried" "$BRIGADE" check "$url"
expect_fails 1 "FAIL  url" "$BRIGADE" check "brigade://short@host"
expect_fails 1 "FAIL  name" "$BRIGADE" check "brigade://$key@no-such-host.invalid:7420"
echo "no token" >token
expect_fails 1 "FAIL  token" "$BRIGADE" check --token-file token
json=$("$BRIGADE" check --json "$url") && fail "check --json of a closed port succeeds"
grep -q '"ready":false' <<<"$json" || fail "check --json: $json"
grep -q '"check":"keys","outcome":"skipped"' <<<"$json" || fail "check --json: $json"
[ -z "$(find . -name '.brigade-check*')" ] || fail "check left its probe on the disk"
echo "bad input is told"
