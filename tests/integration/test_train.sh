#!/bin/bash
# A run trains, and who computes it leaves no trace: its parameters are the same bits with fewer or
# more workers than the code has places, with other threads, and with another code that sums in the
# same order.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
steps=40

# same_again NAME WORKERS [FLAG...]: the run once more must end as the first did.
same_again() {
    train "$1" "$run" "$steps" "${@:2}"
    expect_equal "parameters of $1 and of the first run" "$digest" "$first"
    echo "$1: $digest"
}

# loss_falls STATE: from the first step to the last.
loss_falls() {
    local from to
    from=$(loss_of "$1" 1)
    to=$(loss_of "$1" "$steps")
    is_less "$to" "$from" || fail "$1: the loss went from $from to $to"
    echo "$1: loss $from -> $to"
}

# ---- a language model ----
run=$work/llama.yaml
tiny_llama "$run" "$steps" 'code: {scheme: frc, s: 1}' 'checkpoint: {every: 10, keep: 2}'
train llama "$run" "$steps" 4
first=$digest
loss_falls llama
last=$work/llama/runs/1/checkpoints/ckpt-$(printf '%010d' "$steps")
grep -q "$first" "$last/manifest.json" || fail "the manifest gives another digest than $first"
# The newest, the one before it and the one that the log began with; of the log only the rest.
files=$(cd "$work/llama/runs/1" && find . -name manifest.json -o -name '*.grad' | sort | tr '\n' ' ')
expect_equal "files of an ended run" "$files" "./checkpoints/ckpt-0000000020/manifest.json \
./checkpoints/ckpt-0000000030/manifest.json ./checkpoints/ckpt-0000000040/manifest.json \
./log/segment-0000000031.grad "
same_again again 4
same_again three_workers 3 --threads 2
same_again six_workers 6
expect_equal "the last loss of both" "$(loss_of six_workers "$steps")" "$(loss_of llama "$steps")"

# ---- other codes ----
sed 's/scheme: frc, s: 1/scheme: none/' "$run" >"$work/none.yaml"
train none "$work/none.yaml" "$steps" 4
loss_falls none
sed 's/scheme: frc, s: 1/scheme: cyclic, s: 1/' "$run" >"$work/cyclic.yaml"
train cyclic "$work/cyclic.yaml" "$steps" 4
loss_falls cyclic
# Decoding a cyclic code rounds, and rounding grows with the steps: near, and no more than that.
is_near "$(loss_of cyclic "$steps")" "$(loss_of llama "$steps")" 0.05 ||
    fail "cyclic ends far away from frc: $(loss_of cyclic "$steps")"

# ---- a classifier, and steps that are durable only with a checkpoint ----
run=$work/digits.yaml
tiny_mlp "$run" "$steps" 'code: {scheme: frc, s: 1}' 'checkpoint: {every: 15, keep: 2}' \
    "eval: {every: $steps, samples: 300}"
train digits "$run" "$steps" 4
first=$digest
loss_falls digits
accuracy=$(sed -nE 's/.* held-out samples .* accuracy=([0-9.]*).*/\1/p' "$work/digits.log" | tail -n 1)
is_less 0.6 "$accuracy" || fail "of the held-out digits only $accuracy are read right"
echo "digits: $accuracy of the held-out digits are right"
same_again digits_three 3 --threads 2
echo 'durability: checkpoint' >>"$run"
same_again digits_checkpoint 4
