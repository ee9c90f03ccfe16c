# SPDX-License-Identifier: GPL-2.0
"""
dt/trees.py - device trees with one good region and many bad ones, and what the engine and scripts/check-dt.sh say of each

The machine is the profile mid. Its second region stays as it is: the good one. The memory of the first is cut in
pieces of 16 MiB, described as regions of their own, with their storage elsewhere in that memory. Their tags really go
to the first region's storage, which is reserved and never lent. So nothing that is said of a piece can do harm, and a
piece is a good region but for what its case changes.
"""

import dataclasses
import os
import re
import subprocess
import sys
import tempfile
import typing

TOP, LAB = os.environ["TOP"], os.environ["LAB"]
sys.path.insert(0, LAB)
import machine  # noqa: E402

MIB = machine.MIB
GOOD = "tag-storage@82000000"
KERNEL_MEMORY = 0x40000000      # what lies below the pieces
FIRST_DATA, FIRST_STORE, END = 0x50000000, 0x7e000000, 0x80000000
DATA_SIZE, STORE_SIZE = 16 * MIB, 512 * machine.KIB
PIECES = (FIRST_STORE - FIRST_DATA) // DATA_SIZE
# Reserved, so that tagged pages need the good region: what neither the kernel nor its device tree nor a case needs.
UNUSED = (0x42000000, 0x48000000), (0x48200000, FIRST_STORE - DATA_SIZE)

# What no device tree says, and so only the engine finds
ONLY_ENGINE = re.compile("lies on the kernel's image|has storage where a device is|straddles two zones|is in use|"
                         "has storage that is offline")

# What the engine must do beside the bad regions.
GUEST = f"""
. /mnt/files2/guest.sh
dmesg | sed -n 's/^.*\\(tagstorage: .*\\)/log: \\1/p'
names=$(cat $engine/region*/name)
same "${{names//$'\\n'/ }}" {GOOD} "only the good region is used"
[ "$(sum lent_pages)" -ge $(($(sum total_pages) - 1)) ]
result $? "all of it is lent"
lent=$(sum lent_pages) before=$(memtotal)
hold tagged 64
[ "$(sum reserved_pages)" -gt 100 ]
result $? "it holds tags"
audit "with the bad regions beside"
end_hold tagged
settle
set_policy carveout
same $((before - $(memtotal))) $((lent * 4)) "nothing else is lent"
exit $status
"""


def reg(*numbers):
    """A reg property of addresses and sizes."""
    return f"reg = {machine.cells(*numbers)};"


def memory(label, start, *ranges):
    """A memory node, in the root; its ranges are start and size in turn."""
    return f'\t{label}: memory@{start:x} {{ device_type = "memory"; {reg(*ranges)} }};\n'


def reserve(name, start, size):
    """Memory that is reserved for something else, as source text of its own."""
    return f"/ {{ reserved-memory {{ {name} {{ {reg(start, size)} }}; }}; }};\n"


@dataclasses.dataclass(frozen=True)
class Piece:
    """A piece of memory and its storage; text() is a good description of them."""
    number: int

    @property
    def data(self):
        return FIRST_DATA + self.number * DATA_SIZE

    @property
    def store(self):
        return FIRST_STORE + self.number * STORE_SIZE

    @property
    def name(self):
        return f"tag-storage@{self.store:x}"

    @property
    def next(self):
        return Piece(self.number + 1)

    def text(self, label=""):
        return (f'{label}{self.name} {{ compatible = "arm,mte-tag-storage"; {reg(self.store, STORE_SIZE)}'
                f" block-size = <0x1000>; tagged-memory = <&memory{self.number}>; }};\n")

    def node(self, *properties):
        """Changes the node."""
        return f"&piece{self.number} {{ {' '.join(properties)} }};\n"

    def memory(self, *properties):
        """Changes the node of its memory."""
        return f"&memory{self.number} {{ {' '.join(properties)} }};\n"

    def moved(self, before, after):
        """The node stands elsewhere instead."""
        return f"/delete-node/ &piece{self.number};\n/ {{ {before} {self.text()} {after} }};\n"


@dataclasses.dataclass(frozen=True)
class Case:
    """One piece, how its description is changed, and why it is refused then."""
    what: str
    why: str                        # regular expression; what the engine says after the node's name
    change: typing.Callable = lambda piece: ""
    parent: str = "/reserved-memory/"


def tree(pieces):
    """The tree with this many pieces, all of them described well."""
    cut = "".join(memory(f"memory{n}", Piece(n).data, Piece(n).data, DATA_SIZE) for n in range(PIECES))
    nodes = "".join(Piece(n).text(f"piece{n}: ") for n in range(pieces))
    return ("/delete-node/ &tagged0;\n/delete-node/ &region0;\n/ {\n" +
            memory("low", KERNEL_MEMORY, KERNEL_MEMORY, FIRST_DATA - KERNEL_MEMORY) + cut +
            memory("stores", FIRST_STORE, FIRST_STORE, END - FIRST_STORE) +
            f"\treserved-memory {{\n{nodes}\t}};\n}};\n" + reserve("wired@80000000", END, 32 * MIB) +
            "".join(reserve(f"unused@{start:x}", start, end - start) for start, end in UNUSED))


def boot(additions, script, *options):
    """Runs a script in that machine; returns its status and all that was printed."""
    programs = subprocess.run([os.path.join(LAB, "build-guest"), "engine"], stdout=subprocess.PIPE, text=True,
                              check=True).stdout.split()[-1]
    with tempfile.NamedTemporaryFile("w", suffix=".dts") as file:
        file.write(additions)
        file.flush()
        done = subprocess.run([os.path.join(LAB, "run"), "--profile", "mid", "--dts", file.name, *options, "--files",
                               programs, "--files", os.path.join(TOP, "tests/engine"), "--", script],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def report(good, what):
    print(("ok - " if good else "not ok - ") + what)
    return good


def refusals(output):
    """Pairs of a node's path and the line about it, which ends as it should; from the log that a script printed."""
    return re.findall(r"^log: tagstorage: region (/\S+) (.*); nothing of it is lent$", output, re.M)


def check_script(output, additions):
    """Does check-dt.sh say the same of a machine's tree as its engine did? And of the good region nothing bad?"""
    with tempfile.NamedTemporaryFile(suffix=".dtb") as file:
        machine.make_device_tree(machine.PROFILES["mid"], 2, file.name, "", additions=additions)
        done = subprocess.run([os.path.join(TOP, "scripts/check-dt.sh"), file.name], stdout=subprocess.PIPE, text=True,
                              check=False)
    said = set(re.findall(r"^(/\S+) (.*); nothing of it is lent$", done.stdout, re.M))
    engine = {line for line in refusals(output) if not ONLY_ENGINE.match(line[1])}
    for line in sorted(said ^ engine):
        print(f"only {'check-dt.sh' if line in said else 'the engine'} says: {' '.join(line)}")
    good = report(said == engine, f"check-dt.sh says of {len(said)} regions what the engine says")
    return report(done.returncode == 1 and f"/reserved-memory/{GOOD}: good, " in done.stdout,
                  "and that the good region is good") and good


def check_lines(output, expected):
    """Exactly one line for each node of (what, path, why)."""
    lines = refusals(output)
    good = True
    for what, path, why in expected:
        own = [text for node, text in lines if node == path]
        right = len(own) == 1 and re.fullmatch(why, own[0]) is not None
        good &= report(right, f"{what}: {path} {'; and '.join(own) or 'nothing is said'}")
    strange = [line for line in lines if line[0] not in {path for _, path, _ in expected}]
    return report(not strange, f"one line each{': ' if strange else ''}{strange or ''}") and good


def check_cases(cases, additions=""):
    """One machine for all of them; returns the exit status of a test."""
    pieces = [Piece(n) for n in range(len(cases))]
    changes = "".join(case.change(piece) for case, piece in zip(cases, pieces))
    additions = tree(len(cases)) + additions + changes
    status, output = boot(additions, GUEST)
    print("\n".join(line for line in output.splitlines() if not line.startswith("log: ")))
    expected = [(case.what, case.parent + piece.name, case.why) for case, piece in zip(cases, pieces)]
    good = check_lines(output, expected)
    good &= check_script(output, additions)
    return 0 if good and status == 0 else 1
