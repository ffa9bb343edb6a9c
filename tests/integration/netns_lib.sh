# netns_lib.sh - two network namespaces as two machines, 192.0.2.10 (first) and 192.0.2.20 (second).
# Sourced after lib.sh; needs root and leaves with 77 where namespaces cannot be made.
# shellcheck shell=bash disable=SC2034,SC2154
first_ns=brg$$a second_ns=brg$$b

end_machines() {
    local status=$? ns pid
    for ns in "$first_ns" "$second_ns"; do
        # Whatever runs in there is ours, and would outlive the namespace's name.
        for pid in $(ip netns pids "$ns" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null || true; done
        ip netns del "$ns" 2>/dev/null || true
    done
    (exit "$status")
    clean_up
}

if ! { [ "$(id -u)" -eq 0 ] && command -v ip && ip netns add "$first_ns"; } >/dev/null 2>&1; then
    echo "skipped: network namespaces need root and the package iproute2"
    exit 77
fi
trap end_machines EXIT
ip netns add "$second_ns"
ip -n "$first_ns" link add cable type veth peer name cable netns "$second_ns"
ip -n "$first_ns" address add 192.0.2.10/24 dev cable
ip -n "$second_ns" address add 192.0.2.20/24 dev cable
for ns in "$first_ns" "$second_ns"; do
    ip -n "$ns" link set lo up
    ip -n "$ns" link set cable up
done
mkdir -p "$work/first" "$work/second" "$work/bin"
ln -s "$BRIGADE" "$work/bin/brigade"

# on first|second COMMAND...: on that machine, in its home.
on() {
    local machine=$1 ns=$first_ns
    shift
    [ "$machine" = first ] || ns=$second_ns
    ip netns exec "$ns" env -u XDG_STATE_HOME HOME="$work/$machine" PATH="$work/bin:$PATH" \
        sh -c "cd && exec $*"
}
