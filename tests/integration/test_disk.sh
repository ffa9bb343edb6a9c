#!/bin/bash
# A disk that is full, bytes that are damaged, a copy that is old: the coordinator stops with one
# sentence and an exit code of its own, and where nothing is lost it goes on to the same bits.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/crew.sh"
steps=120
room=10m # of the disk that fills up: enough for the data set and some steps

tiny_llama "$work/run.yaml" "$steps" 'code: {scheme: frc, s: 1}' 'checkpoint: {every: 20, keep: 2}'
train clean "$work/run.yaml" "$steps" 4
clean=$digest
tiny_steps=$steps tiny_clean=$clean

# ends_with STATE STATUS WORDS: a coordinator started on this state leaves by itself, with this exit
# code and one sentence about an error, which says WORDS.
ends_with() {
    the_coordinator "$1"
    wait_exit 30 "$coordinator"
    says_once "$@"
}
says_once() {
    local errors
    errors=$(grep ' error ' "$work/$1.log") || fail "$1 says nothing about an error"
    expect_equal "exit code of $1: $errors" "$exit_status" "$2"
    expect_equal "sentences of $1" "$(wc -l <<<"$errors")" 1
    grep -qF -e "$3" <<<"$errors" || fail "$1 does not say '$3': $errors"
    echo "$1: $2: ${errors#* coordinator: }" | cut -c 1-200
}

# goes_on STATE: started again it ends with the parameters of the clean run.
goes_on() {
    the_coordinator "$1"
    some_workers 4
    wait_for_end 60
    dismiss_workers
    digest=$(params_digest "$1" "$steps")
    expect_equal "parameters of $1 and of the clean run" "$digest" "$clean"
    echo "$1: goes on to $digest"
}

# flip FILE OFFSET: one bit of one byte is another one.
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    printf '%b' "\\0$(printf '%o' $((byte ^ 4)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# ---- a disk that fills up ----
# full_disk STATE RUN: a coordinator whose state is on a disk of $room, which nobody else sees; what
# it left is $work/STATE afterwards.
full_disk() {
    local state=$1 run=$2
    mkdir "$work/$state.disk"
    rm -f "$work/token"
    cat >"$work/on_small_disk.sh" <<'SH'
mount -t tmpfs -o size="$room" tmpfs "$disk" || exit 99
"$BRIGADE" coordinator --state "$disk/state" --listen "127.0.0.1:$port" --token-out "$token" \
    --config "$run" --exit-when-done --announce "127.0.0.1:$port"
status=$?
cp -a "$disk/state" "$saved"
exit "$status"
SH
    port=$(free_port)
    start "$state" env room="$room" disk="$work/$state.disk" port="$port" token="$work/token" \
        run="$run" saved="$work/$state" unshare "${namespace[@]}" bash "$work/on_small_disk.sh"
    coordinator=$pid
    wait_for_line 20 "$state" "worker joins with|status|error"
    url=$(sed -nE "s/.*--join '([^ ]*)' --token.*/\1/p" "$work/$state.log")
    some_workers 4
    wait_exit 60 "$coordinator"
    dismiss_workers
}

namespace=(-m)
[ "$(id -u)" -eq 0 ] || namespace=(-r -m)
if unshare "${namespace[@]}" mount -t tmpfs tmpfs "$work" 2>/dev/null; then
    sed 's/every: 20/every: 100/' "$work/run.yaml" >"$work/rare.yaml"
    full_disk full_log "$work/rare.yaml"
    says_once full_log 74 'make room on this disk, then start again'
    goes_on full_log

    room=7m
    full_disk full_data "$work/run.yaml"
    says_once full_data 74 'the packed data set cannot be written'
    goes_on full_data

    # Checkpoints are all that is written, and the second one does not fit.
    sed 's/dim: 16/dim: 128/; s/every: 20/every: 4/; s/^steps: .*/steps: 16/' "$work/run.yaml" \
        >"$work/wide.yaml"
    echo 'durability: checkpoint' >>"$work/wide.yaml"
    steps=16
    train wide "$work/wide.yaml" 16 4
    clean=$digest
    room=10m
    full_disk full_checkpoint "$work/wide.yaml"
    says_once full_checkpoint 74 'checkpoint'
    goes_on full_checkpoint
    steps=$tiny_steps clean=$tiny_clean
else
    echo "a full disk is not tried: no file system can be mounted here"
fi

# ---- damaged bytes, after 70 of 120 steps ----
coordinator_flags=()
the_coordinator whole --config "$work/run.yaml"
some_workers 4
wait_for_line 30 whole ' round: step .* step=70 '
stop "$coordinator" KILL
dismiss_workers
coordinator_flags=(--exit-when-done)
run=runs/1
# The newest segment of the log may hold no step yet.
listed() { (cd "$work/whole" && find "$1" -name "$2" | sort); }
segment=$(listed $run/log '*.grad' | head -n 1)
# The one that was being written when the coordinator was killed has no manifest yet, and is none.
newest=$(listed $run/checkpoints manifest.json | tail -n 1)
older=$(listed $run/checkpoints manifest.json | tail -n 2 | head -n 1)
newest=${newest%/*} older=${older%/*}
copy() { cp -a "$work/whole" "$work/$1"; }

copy newest_damaged
flip "$work/newest_damaged/$newest/params.bin" 5000
goes_on newest_damaged
grep -q 'warn run: a checkpoint is damaged, the one before it is taken' \
    "$work/newest_damaged.log" || fail "a damaged checkpoint is passed over in silence"
copy manifest_damaged
flip "$work/manifest_damaged/$newest/manifest.json" 30
goes_on manifest_damaged
copy both_damaged
flip "$work/both_damaged/$newest/optimizer.bin" 5000
flip "$work/both_damaged/$older/params.bin" 5000
ends_with both_damaged 65 'checkpoint'
copy log_damaged
flip "$work/log_damaged/$newest/params.bin" 5000 # so that this part of the log is needed
flip "$work/log_damaged/$segment" 20000
ends_with log_damaged 65 'log'
copy log_missing
rm "$work"/log_missing/$run/log/*.grad
ends_with log_missing 65 'log'
copy store_damaged
flip "$(find "$work/store_damaged/store" -name '*.log' -size +1k | sort | head -n 1)" 2000
ends_with store_damaged 65 'store'
copy data_damaged
flip "$work/data_damaged/$run/data.brgdata" 3000000
ends_with data_damaged 65 'data.brgdata'
goes_on whole

# ---- an old copy of the state, while workers live that have seen more ----
coordinator_flags=()
the_coordinator current --config "$work/run.yaml"
some_workers 4 --fault stall:for=20ms
wait_for_line 30 current ' round: step .* step=5 '
stop "$coordinator"
cp -a "$work/current" "$work/old"
the_coordinator current
wait_for_line 30 current ' round: step .* step=20 '
stop "$coordinator" KILL
the_coordinator old
wait_exit 30 "$coordinator"
says_once old 65 'the store is an old copy'
coordinator_flags=(--exit-when-done)
the_coordinator current
wait_for_end 60
dismiss_workers
expect_equal "parameters after the old copy was refused" "$(params_digest current "$steps")" "$clean"
