#!/bin/sh
# format.sh ROOT CLANG_FORMAT - every C file is laid out as .clang-format says.
set -eu
cd "$1"
find base kernels coding model recovery coordinator worker proto cli bench tests \
    \( -name '*.c' -o -name '*.h' -o -name '*.cu' \) | sort |
    xargs "$2" --dry-run -Werror --ferror-limit=3
