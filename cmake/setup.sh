# setup.sh - what ./check and ./demo share: packages, real data, configure, build. Sourced by bash.
#
# Every step looks first whether its work is done, so that a second run is quick and needs no
# network. Expects the checkout to be the current folder.
# shellcheck shell=bash

root=$(pwd -P)
# One job for one core; the sources are small, so memory is no limit.
jobs=$(nproc)
apt_attempts=3        # a mirror that fails three times will not answer the fourth
apt_fresh=no          # becomes yes once this run has read the package lists
export LC_ALL=C DEBIAN_FRONTEND=noninteractive HOME="${HOME:-/root}"
# su without a dash leaves root with a user's PATH, and dpkg refuses to run without ldconfig.
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin"
# Flags left over in the caller's shell must not change what is built.
unset CC CFLAGS CPPFLAGS LDFLAGS CMAKE_GENERATOR CTEST_PARALLEL_LEVEL CTEST_OUTPUT_ON_FAILURE

# What building and running needs, and what the tests need on top of it.
# shellcheck disable=SC2034 # read by check and demo
packages_build="gcc libc6-dev cmake ninja-build pkg-config ca-certificates mawk
    libzmq3-dev libprotobuf-c-dev protobuf-c-compiler libsodium-dev librocksdb-dev libdnnl-dev
    libcmocka-dev libyaml-dev libcjson-dev libcurl4-openssl-dev libmicrohttpd-dev
    zlib1g-dev bible-kjv bible-kjv-text"
# shellcheck disable=SC2034
packages_check="clang-14 clang-format-14 libclang-rt-14-dev shellcheck jq"

say() { printf '== %4ds  %s\n' "$SECONDS" "$*"; }

# die SENTENCE: what went wrong, where, and what to do next.
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo DEBIAN_FRONTEND=noninteractive "$@"; fi
}

# apt_refresh: reads the package lists, once a run. A failure is not the end: old lists may do.
apt_refresh() {
    local attempt
    [ "$apt_fresh" = no ] || return 0
    for attempt in $(seq "$apt_attempts"); do
        say "reading the package lists (attempt $attempt of $apt_attempts)"
        if as_root apt-get -qq -o Acquire::Retries=2 -o DPkg::Lock::Timeout=120 update; then
            apt_fresh=yes
            return 0
        fi
        sleep $((attempt * 3))
    done
    say "the package lists could not be read; going on with those at hand"
}

# missing_packages NAME...: those of them that are not installed, one a line.
missing_packages() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] ||
            echo "$name"
    done
}

# need_packages NAME...: installs what is missing. No network if nothing is.
need_packages() {
    local missing log
    command -v apt-get >/dev/null ||
        die "this script installs Debian packages and found no apt-get: on another system install" \
            "the libraries that README.md lists, then use cmake --preset release"
    missing=$(missing_packages "$@" | tr '\n' ' ')
    if [ -z "$missing" ]; then
        say "packages: all $# are there"
        return 0
    fi
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        die "packages are missing and there is no sudo: as root, run" \
            "apt-get install --no-install-recommends $missing"
    fi
    apt_refresh
    say "installing: $missing"
    mkdir -p build
    log=build/apt.log
    # shellcheck disable=SC2086 # the list is meant to fall into words
    if ! as_root apt-get -y -qq -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 \
        -o Dpkg::Use-Pty=0 install --no-install-recommends $missing >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        die "apt-get could not install the packages above: see $log, cure the cause, run again"
    fi
}

# build_preset PRESET [target...]: configures when needed, then builds.
build_preset() {
    local preset=$1 dir=build/$1 log=build/$1.configure.log fresh="" configured
    shift
    mkdir -p build
    # A checkout that was moved or copied has a cache that points elsewhere: start that one anew.
    if [ -f "$dir/CMakeCache.txt" ]; then
        configured=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$dir/CMakeCache.txt")
        [ "$configured" = "$root" ] || fresh=--fresh
    fi
    say "configuring build/$preset"
    # shellcheck disable=SC2086 # empty means no argument
    if ! cmake --preset "$preset" $fresh >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        die "cmake could not configure build/$preset: see $log"
    fi
    say "building build/$preset with $jobs jobs"
    log=build/$preset.build.log
    if ! cmake --build "$dir" --parallel "$jobs" ${1:+--target "$@"} >"$log" 2>&1; then
        grep -v '^\[[0-9]*/[0-9]*\] ' "$log" | tail -n 40 >&2
        die "build/$preset did not compile: see $log"
    fi
}

# Real data out of Debian packages, kept in build/data so that later runs need no network.
kjv_sha256=b5c4940bcfeee072c0935b5200d0f9d88a00a0199cb0961d16133458fcdfae5d
digits_sha256=6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8

# has_sha256 FILE SHA256
has_sha256() {
    [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ]
}

# prepare_kjv: build/data/kjv.txt, the King James Bible, one verse a line without its number.
prepare_kjv() {
    local out=build/data/kjv.txt
    has_sha256 "$out" "$kjv_sha256" && return 0
    say "extracting the corpus: the King James Bible out of package bible-kjv-text"
    mkdir -p build/data
    bible -f 'Gen1:1-Rev22:21' </dev/null |
        awk '/^[0-9]?[A-Za-z]+[0-9]+:[0-9]+ / {
                 if (verse != "") print verse
                 sub(/^[^ ]+ /, ""); verse = $0; next
             }
             NF { verse = verse " " $0 }
             END { print verse }' >"$out.part"
    has_sha256 "$out.part" "$kjv_sha256" ||
        die "the text out of package bible-kjv-text is not the one expected (sha256 of" \
            "$out.part): reinstall bible-kjv and bible-kjv-text from Debian 12"
    mv "$out.part" "$out"
}

# prepare_digits: build/data/digits.csv, 1797 images of 8 x 8 handwritten digits: 64 values from
# 0 to 16 and the label a row. The package that holds it is unpacked, not installed.
prepare_digits() {
    local out=build/data/digits.csv dir=build/data/unpack deb
    has_sha256 "$out" "$digits_sha256" && return 0
    say "fetching the handwritten digits out of package python3-sklearn"
    rm -rf "$dir"
    mkdir -p "$dir/tree"
    if ! (cd "$dir" && apt-get -qq download python3-sklearn) >build/apt.log 2>&1; then
        apt_refresh
        (cd "$dir" && apt-get -qq download python3-sklearn) >build/apt.log 2>&1 ||
            die "package python3-sklearn could not be downloaded (see build/apt.log): it is needed" \
                "once, connect to a Debian mirror and run again"
    fi
    deb=$(echo "$dir"/python3-sklearn_*.deb)
    dpkg -x "$deb" "$dir/tree"
    gzip -dc "$dir"/tree/usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz \
        >"$out.part"
    has_sha256 "$out.part" "$digits_sha256" ||
        die "digits.csv of package python3-sklearn is not the one expected (sha256 of $out.part)"
    mv "$out.part" "$out"
    rm -rf "$dir"
}
