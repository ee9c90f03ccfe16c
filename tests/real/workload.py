# SPDX-License-Identifier: GPL-2.0
"""
real/workload.py [MAPS] - work for a memory allocator: many objects of all sizes, made, changed, compared, freed

Prints digests of its results, the same whenever and wherever it runs. MAPS: writes its /proc/self/smaps there
while its objects live.
"""

import hashlib
import json
import os
import random
import re
import subprocess
import sys


def digest(*things):
    return hashlib.sha256(repr(things).encode()).hexdigest()[:16]


def records(generator, count):
    return [{"id": i, "name": f"{generator.getrandbits(48):012x}", "weight": generator.random(),
             "tags": [generator.choice("abcdefgh") * generator.randint(1, 40) for _ in range(4)]}
            for i in range(count)]


def containers(generator):
    table = {}
    for i in range(15000):
        table[f"key {generator.getrandbits(32)}"] = i
        if i % 3 == 0:
            table.pop(next(iter(table)))
    return digest(len(table), sorted(table.items())[::97])


def text(rows):
    dumped = json.dumps(rows, sort_keys=True)
    again = json.loads(dumped)
    words = re.findall(r"[a-h]{3,}", dumped)
    return digest(again == rows, len(dumped), len(words), sorted(set(words))[:50])


def buffers(generator):
    """From one byte to sizes that malloc maps one by one."""
    kept = []
    total = 0
    for i in range(300):
        block = bytearray(generator.randbytes(64)) * generator.choice((1, 5, 60, 700, 3000))
        block[len(block) // 2] ^= 255
        kept.append(block)
        if len(kept) > 40:
            total ^= int.from_bytes(hashlib.sha256(kept.pop(generator.randrange(40))).digest()[:8], "big")
    return digest(total, [len(b) for b in kept])


def children(rows):
    """Forked ones share and copy the heap, started ones have their own."""
    results = []
    for number in range(3):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            for row in rows[number::3]:
                row["weight"] *= number
                row["name"] += "!"
            os.write(writer, digest(rows[number::3]).encode())
            os._exit(0)
        os.close(writer)
        results.append(os.read(reader, 64))
        os.close(reader)
        results.append(os.waitpid(pid, 0)[1])
    code = "print(sum(len(str(n ** 3)) for n in range(5000)))"
    results.append(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    return digest(results, rows[-1])


def main():
    generator = random.Random(20)
    rows = records(generator, 4000)
    print("records", digest(rows))
    print("sorted", digest(sorted(rows, key=lambda row: (row["tags"], row["weight"]))[::31]))
    print("containers", containers(generator))
    print("text", text(rows))
    print("buffers", buffers(generator))
    print("children", children(rows))
    if len(sys.argv) > 1:
        with open("/proc/self/smaps", encoding="ascii") as maps, open(sys.argv[1], "w",
                                                                      encoding="ascii") as copy:
            copy.write(maps.read())


main()
