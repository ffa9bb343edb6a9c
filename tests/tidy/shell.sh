#!/bin/sh
# shell.sh ROOT SHELLCHECK - the scripts pass shellcheck.
set -eu
cd "$1"
find check demo .ci cmake tests bench docker -type f \( -name '*.sh' -o -name check -o -name demo \
    -o -name run \) -not -path '*/corpus/*' | sort | xargs "$2" -x
