#!/usr/bin/env python3
"""unicode_table.py UnicodeData.txt PropList.txt > unicode_table.c

Makes the table behind model/unicode.h from two files of the Unicode Character Database, which
Debian has in the package unicode-data (/usr/share/unicode). Two stages: a code point's upper bits
choose a block of 128 code points, equal blocks are stored once; four classes fit into a byte.
"""
import sys

OTHER, LETTER, NUMBER, SPACE = range(4)
CODE_POINTS, BLOCK = 0x110000, 128


def letters_and_numbers(path):
    classes = bytearray(CODE_POINTS)
    first = None
    for line in open(path, encoding="ascii"):
        field = line.split(";")
        point, name, category = int(field[0], 16), field[1], field[2]
        kind = {"L": LETTER, "N": NUMBER}.get(category[0], OTHER)
        if name.endswith(", First>"):
            first = point
            continue
        for p in range(first if first is not None else point, point + 1):
            classes[p] = kind
        first = None
    return classes


def add_spaces(classes, path):
    for line in open(path, encoding="utf-8"):
        fields = line.split("#")[0].split(";")
        if len(fields) != 2 or fields[1].strip() != "White_Space":
            continue
        ends = fields[0].strip().split("..")
        for p in range(int(ends[0], 16), int(ends[-1], 16) + 1):
            classes[p] = SPACE


def version(path):
    return open(path, encoding="utf-8").readline().split("-")[-1].strip().removesuffix(".txt")


def packed(block):
    return bytes(block[i] | block[i + 1] << 2 | block[i + 2] << 4 | block[i + 3] << 6
                 for i in range(0, BLOCK, 4))


def print_bytes(values):
    for i in range(0, len(values), 16):
        print("    " + " ".join("0x%02x," % v for v in values[i:i + 16]))


def main():
    classes = letters_and_numbers(sys.argv[1])
    add_spaces(classes, sys.argv[2])
    numbers, blocks, stage = {}, b"", []
    for start in range(0, CODE_POINTS, BLOCK):
        block = packed(classes[start:start + BLOCK])
        if block not in numbers:
            numbers[block] = len(numbers)
            blocks += block
        stage.append(numbers[block])
    while stage[-1] == stage[-2] == numbers[bytes(BLOCK // 4)]:
        stage.pop()
    assert len(numbers) <= 256
    print("/* Made by unicode_table.py from the Unicode Character Database %s. Do not edit. */"
          % version(sys.argv[2]))
    print('#include "model/unicode.h"\n')
    print("/* clang-format off */")
    print("const uint32_t brg_unicode_stage_count = %d;\n" % len(stage))
    print("const uint8_t brg_unicode_stage[] = {")
    print_bytes(stage)
    print("};\n\nconst uint8_t brg_unicode_blocks[] = {")
    print_bytes(blocks)
    print("};")


main()
