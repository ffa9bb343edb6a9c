#!/bin/bash
# Models in and out with the real coordinator and workers: a run by BPE and one by bytes, exported in
# each format while they train and when they have ended, read again, and trained on from there.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
coordinator_flags=()

# tensors NAME FLAG...: exports what the flags name as hf, in float32, to $work/NAME and prints the
# digest of all its tensors.
tensors() {
    local name=$1 head
    shift
    "$BRIGADE" export "$@" --format hf --out "$work/$name" >/dev/null
    head=$(od -An -tu8 -N8 "$work/$name/model.safetensors" | tr -d ' ')
    tail -c +$((head + 9)) "$work/$name/model.safetensors" | b2sum -l 256 | cut -d ' ' -f 1
}

# eval_of KEY FLAG... FILE: a figure of brigade eval.
eval_of() {
    local key=$1
    shift
    "$BRIGADE" eval --json "$@" | jq -r ".$key"
}

# a_run FILE NAME STEPS LINE...: four workers, whole passes over the data, no held-out part.
a_run() {
    local file=$1 name=$2 steps=$3
    shift 3
    printf '%s\n' "run: $name" "steps: $steps" 'workers: 4' 'seed: 7' \
        'optimizer: {type: adamw, lr: 3e-3, warmup: 2, clip: 1.0}' 'eval: {every: 0}' "$@" >"$file"
}

# ended NAME: the run of that name has finished.
ended() {
    ask runs --json |
        jq -e --arg name "$1" '.runs[] | select(.name == $name) | .state == "finished"'
}

# ---- a small text, its tokenizer, its shards ----
head -c 120000 "$data/kjv.txt" >"$work/train.txt"
tail -c 20000 "$data/kjv.txt" >"$work/held.txt"
"$BRIGADE" tokenizer train --vocab 512 --out "$work/bpe.json" "$work/train.txt" >/dev/null
"$BRIGADE" data prepare --held-out 0% --tokenizer "$work/bpe.json" --out "$work/bpe" \
    "$work/train.txt" >/dev/null
sizes='dim: 32, layers: 2, heads: 4, kv_heads: 2, hidden: 64, context: 32'
a_run "$work/bpe.yaml" bpe 400 "model: {type: llama, $sizes, vocab: 512}" \
    "data: {train: $work/bpe_train.bin, held_out: 0%}" 'batch: {sequences: 16, chunks: 4}' \
    'checkpoint: {every: 30}'

# ---- while it trains: nobody names the tokenizer, and nothing stops ----
state=first
the_coordinator "$state" --config "$work/bpe.yaml"
some_workers 4
wait_until 60 eval "ask status --json | jq -e '.open.step > 40'"
for format in hf gguf llama2c; do
    "$BRIGADE" export --run bpe --state "$work/$state" --format "$format" \
        --out "$work/live.$format" >/dev/null
done
step=$(ask status --json | jq .open.step)
wait_until 30 eval "ask status --json | jq -e '.open.step > $step'"
rm -f "$work/bpe_train.bin" "$work/bpe.tokenizer.json" "$work/bpe.json"
eval_of perplexity --run bpe --state "$work/$state" "$work/held.txt" >/dev/null
"$BRIGADE" generate --run 1 --state "$work/$state" --tokens 5 >/dev/null
[ -z "$(find "$work/$state/runs" -name 'snapshot-*')" ] || fail "a snapshot was left behind"
expect_fails 1 "there is no such run" "$BRIGADE" export --run nobody --state "$work/$state" \
    --out "$work/none"
expect_fails 1 "numbered from 0" "$BRIGADE" export --run bpe --model 3 --state "$work/$state" \
    --out "$work/none"
echo "exported while it trained, about step $step"

# ---- when it has ended, with its coordinator and without ----
wait_until 90 ended bpe
with=$(tensors ended --run bpe --state "$work/$state")
dismiss_workers
stop "$coordinator"
without=$(tensors ended-2 --run 1 --state "$work/$state")
expect_equal "the ended run, with its coordinator and without" "$with" "$without"
cmp "$work/ended/tokenizer.json" "$work/ended-2/tokenizer.json"
own=$(eval_of perplexity --run bpe --state "$work/$state" "$work/held.txt")
for format in hf gguf llama2c; do
    out=$work/bpe.$format
    pieces=()
    if [ "$format" = llama2c ]; then # whose tokenizer knows scores and no merges
        out=$work/bpe.bin
        pieces=(--tokenizer "$work/ended/tokenizer.json")
    fi
    "$BRIGADE" export --run bpe --state "$work/$state" --format "$format" --out "$out" >/dev/null
    expect_equal "tensors by way of $format" \
        "$(tensors "again-$format" --model "$out" "${pieces[@]}")" "$with"
    is_near "$(eval_of perplexity --model "$out" "${pieces[@]}" "$work/held.txt")" "$own" 0.0001 ||
        fail "the perplexity by way of $format is another"
done
is_less "$own" 300 || fail "it has not learnt: perplexity $own"
echo "by BPE: perplexity $own, the same in three formats"

# ---- fine-tuning: what eval says before is the first step's loss, and the loss goes down ----
# A text of one window: every sequence of a batch is that one, wherever a pass begins.
head -c 129 "$work/held.txt" >"$work/window.txt"
head -c 10000 "$work/held.txt" >"$work/tune.txt"
tail -c 10000 "$work/held.txt" >"$work/unseen.txt"
sizes=${sizes/context: 32/context: 128}
a_run "$work/bytes.yaml" bytes 40 "model: {type: llama, $sizes}" \
    "data: {train: $work/train.txt, held_out: 0%}" 'batch: {sequences: 16, chunks: 4}'
state=bytes
the_coordinator "$state" --config "$work/bytes.yaml"
some_workers 4
wait_until 60 ended bytes
base=$(tensors base --run bytes --state "$work/$state")

# tune NAME MODEL: trains on from a model, on the one window and on more.
nats() { eval_of nats_per_token --recipe windows --context 128 "$@"; }
tune() {
    local name=$1 from="model: {from: $2}" before first unseen seen
    a_run "$work/$name-1.yaml" "$name-1" 1 "$from" 'batch: {sequences: 4, chunks: 4}' \
        'data: {train: window.txt, held_out: 0%}' 'optimizer: {lr: 1e-3}'
    sed -i '/^optimizer: {type/d' "$work/$name-1.yaml"
    a_run "$work/$name.yaml" "$name" 12 "$from" 'batch: {sequences: 16, chunks: 4}' \
        'data: {train: tune.txt, held_out: 0%}'
    before=$(nats --model "$work/$2" "$work/window.txt")
    unseen=$(nats --model "$work/$2" "$work/unseen.txt")
    ask submit "$work/$name-1.yaml" >/dev/null
    ask submit "$work/$name.yaml" >/dev/null
    wait_until 60 ended "$name"
    first=$(ask runs --json | jq -r --arg name "$name-1" '.runs[] | select(.name == $name) | .loss')
    seen=$(nats --run "$name" --state "$work/$state" "$work/unseen.txt")
    echo "$name: eval $before, first step $first; unseen text $unseen, then $seen"
    is_near "$first" "$before" 0.0001 || fail "the first step's loss is not what eval said"
    is_less "$seen" "$unseen" || fail "training did not lower the loss on unseen text"
}
tune from-hf base
"$BRIGADE" export --model "$work/base" --format gguf --out "$work/base.gguf" >/dev/null
tune from-gguf base.gguf
"$BRIGADE" export --model "$work/base" --format llama2c --out "$work/base.bin" >/dev/null
tune from-llama2c base.bin

# Angles that are scaled: workers that were not told would come to another loss.
cp -r "$work/base" "$work/scaled"
jq '.rope_scaling = {rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4,
    original_max_position_embeddings: 32}' "$work/base/config.json" >"$work/scaled/config.json"
tune scaled scaled
tuned=$(tensors tuned --run from-hf --state "$work/$state")
for name in from-gguf from-llama2c; do
    expect_equal "tensors after training $name" \
        "$(tensors "tuned-$name" --run "$name" --state "$work/$state" \
            --tokenizer bytes)" "$tuned"
done
[ "$(tensors tuned-scaled --run scaled --state "$work/$state")" != "$tuned" ] ||
    fail "the scaling changes nothing: workers were not told"
"$BRIGADE" export --run scaled --state "$work/$state" --out "$work/scaled-out" >/dev/null
expect_equal "the scaling that came out" "$(jq -cS .rope_scaling "$work/scaled-out/config.json")" \
    "$(jq -cS .rope_scaling "$work/scaled/config.json")"

# ---- what cannot be: said at once, before anything starts ----
refused() { # refused WORDS MODEL-LINE
    a_run "$work/wrong.yaml" wrong 3 "$2" 'data: {train: tune.txt}' \
        'batch: {sequences: 4, chunks: 4}'
    expect_fails 78 "$1" "$BRIGADE" validate "$work/wrong.yaml"
    expect_fails 78 "$1" ask submit "$work/wrong.yaml"
}
refused 'contradicts model.from, whose model has 32' 'model: {from: base, dim: 64}'
refused 'is more than the 128 that' 'model: {from: base, context: 256}'
refused 'model.from' 'model: {from: nowhere}'
refused 'model.type' 'model: {from: base, type: mlp}'

# ---- a run before its first step: the same tensors, and no need of the folder it came from ----
dismiss_workers
a_run "$work/zero.yaml" zero 5 'model: {from: base, context: 16}' 'data: {train: tune.txt}' \
    'batch: {sequences: 8, chunks: 4}' 'models: 2' 'sweep: {lr: [1e-3, 1e-2]}'
ask submit "$work/zero.yaml" >/dev/null
wait_until 20 eval "ask status --json | jq -e '.open.name == \"zero\"'"
for model in 0 1; do
    expect_equal "model $model before its first step" "$base" \
        "$(tensors "zero-$model" --run zero --model "$model" --state "$work/$state")"
done
rm -r "$work/base"
stop "$coordinator" KILL
expect_equal "without a coordinator" "$base" \
    "$(tensors zero-2 --run zero --model 1 --state "$work/$state")"
the_coordinator "$state"
wait_until 20 eval "ask status --json | jq -e '.open.name == \"zero\"'"
expect_equal "after a restart" "$base" "$(tensors zero-3 --run zero --state "$work/$state")"
stop "$coordinator"

# ---- other bytes than it began with are refused ----
start=$(find "$work/$state/runs" -path '*/5/*' -prune -o -name start.bin -print | sort -V | tail -n 1)
printf 'x' | dd of="$start" bs=1 seek=4000 conv=notrunc status=none
the_coordinator "$state"
wait_exit 20 "$coordinator"
expect_equal "the exit code" "$exit_status" 65
grep -q 'does not hold the parameters that the run began with' "$work/$state.log" ||
    fail "it does not say what is wrong"
