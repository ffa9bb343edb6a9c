#!/bin/bash
# The checkpoint of a pipeline run, read from outside: export, eval and generate take it while the run
# is open and while nobody serves it; its files are as their manifest says; what is damaged is named.
# No worker is needed: the checkpoint of step 0 is there as soon as the run is open.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
coordinator_flags=()
state=c
folder=$work/c/runs/1/checkpoints/ckpt-0000000000

# digest_of FOLDER: of the tensors in a Hugging Face folder.
digest_of() {
    local head
    head=$(od -An -tu8 -N8 "$1/model.safetensors" | tr -d ' ')
    tail -c +$((head + 9)) "$1/model.safetensors" | b2sum -l 256 | cut -d ' ' -f 1
}
is_written() { [ -s "$folder/manifest.json" ]; }

the_coordinator c
cat >"$work/line.yaml" <<YAML
run: line
kind: pipeline
model: {type: llama, dim: 16, layers: 6, heads: 2, hidden: 32, context: 32, vocab: bytes, tied: false}
data: {train: $data/kjv.txt, held_out: 5%}
batch: {sequences: 8}
optimizer: {type: adamw, lr: 1e-2}
steps: 20
pipeline: {stages: 3, microbatches: 8}
YAML
ask submit "$work/line.yaml" >/dev/null
wait_until 20 is_written

expect_equal "stages in the manifest" "$(jq '.stages | length' "$folder/manifest.json")" 3
while read -r name bytes digest; do
    expect_equal "size of $name" "$(stat -c %s "$folder/$name")" "$bytes"
    expect_equal "digest of $name" "$(b2sum -l 256 <"$folder/$name" | cut -d ' ' -f 1)" "$digest"
    # A safetensors file: the length of its header, then JSON that names tensors.
    head=$(od -An -tu8 -N8 "$folder/$name" | tr -d ' ')
    head -c $((head + 8)) "$folder/$name" | tail -c +9 | jq -e '.__metadata__."brigade.step" == "0" and
        (keys | map(select(startswith("model.layers."))) | length == 18)' >/dev/null ||
        fail "the header of $name does not name the tensors of two layers"
done < <(jq -r '.stages[] | "\(.name) \(.bytes) \(.digest)"' "$folder/manifest.json")

"$BRIGADE" export --run line --state "$work/c" --format hf --out "$work/live" >/dev/null
"$BRIGADE" generate --run line --state "$work/c" --tokens 5 >/dev/null
stop "$coordinator"
"$BRIGADE" export --run line --state "$work/c" --format hf --out "$work/later" >/dev/null
"$BRIGADE" export --checkpoint "$folder" --run-file "$work/line.yaml" --format gguf \
    --out "$work/named.gguf" >/dev/null
"$BRIGADE" export --model "$work/named.gguf" --format hf --out "$work/named" >/dev/null
expect_equal "the parameters while the run is open, and later" "$(digest_of "$work/later")" \
    "$(digest_of "$work/live")"
expect_equal "the parameters by way of GGUF" "$(digest_of "$work/named")" \
    "$(digest_of "$work/live")"
perplexity=$("$BRIGADE" eval --run line --state "$work/c" --json --held-out 5% --recipe windows \
    --chunks 2 "$data/kjv.txt" | jq .perplexity)
echo "perplexity of the first parameters: $perplexity (of a guess: 256)"
is_less "$perplexity" 300 || fail "first parameters that are worse than a guess: $perplexity"

printf x | dd of="$folder/stage-001-of-003.safetensors" bs=1 seek=5000 conv=notrunc 2>"$work/dd.log"
status=0
"$BRIGADE" export --run line --state "$work/c" --format hf --out "$work/damaged" \
    >/dev/null 2>"$work/damaged.log" || status=$?
[ "$status" -ne 0 ] || fail "a damaged checkpoint was exported"
grep -q 'stage-001-of-003.safetensors' "$work/damaged.log" ||
    fail "the damaged file is not named: $(cat "$work/damaged.log")"
[ ! -e "$work/damaged" ] || fail "a damaged checkpoint left an export"
