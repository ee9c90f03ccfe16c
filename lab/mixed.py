# SPDX-License-Identifier: GPL-2.0
"""
lab/mixed.py - what lab/bench measures for the pictures of its report: the state of every block over time while tagged and
untagged memory come and go, and how much tag storage each policy lends on each machine

States are made again from the engine's events, and compared with what sysfs says whenever the machine was quiet. Two
things are not seen: blocks that were reserved before the first event (the zero page's), and in which order blocks come
back while a region is drained, since that is one event.
"""

import bisect
import os
import re
import subprocess
import tempfile

import labrun
import machine

LAB = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(LAB)

PROFILE = "small"
ROWS, COLUMNS = 64, 120             # of the picture: neighbours in storage, and in time, share a cell
IDLE, LENT, RESERVED = range(3)
AFTER = {"tagstorage_lend": LENT, "tagstorage_reserve": RESERVED, "tagstorage_release": IDLE}
EVENT = re.compile(r"\s(\d+\.\d+): (\w+): (.*)")
LOST = re.compile(r"^# entries-in-buffer/entries-written: (\d+)/(\d+)|LOST \d+ EVENTS", re.M)

NODE = ("--dts", os.path.join(TOP, "tests", "policies", "node.dts"))
GAINED = (
    *((profile, (), ("cma", "metadata")) for profile in ("small", "block3", "block4", "numa", "mid")),
    ("hotplug", (), ("movable",)), ("hotplug", NODE, ("node",)),
)


class Unmeasured(Exception):
    """Why there are no figures; the text is one sentence."""


def run(profile, options, *command):
    """One machine with the engine; returns what the command prints."""
    programs = labrun.tool("build-guest", "anon", "engine")
    done = subprocess.run([os.path.join(LAB, "run"), "--kernel", "patched", "--profile", profile, "--policy", "carveout",
                           "--files", programs, "--files", os.path.join(TOP, "tests", "engine"),
                           "--files", os.path.join(TOP, "tests", "bench"), "--timeout", "900", *options, "--", *command],
                          stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        bad = [line for line in done.stdout.splitlines() if line.startswith("not ok")]
        raise Unmeasured(f"{' '.join(command)} on {profile} ended with exit status {done.returncode}"
                         f"{': ' if bad else ''}{'; '.join(bad)}")
    return done.stdout


def complete(trace):
    """Does the trace hold every event?"""
    found = LOST.search(trace)
    return bool(found and found.group(1) and found.group(1) == found.group(2))


class Blocks:
    """The state of each block, as events change it."""

    def __init__(self, count, pages):
        self.states = bytearray(count)
        self.pages = pages
        self.before = None          # pages that were reserved before the first event

    def follow(self, event, values):
        if event in AFTER:
            self.states[int(values["block"])] = AFTER[event]
        elif event == "tagstorage_drain" and values["left"] == "0":
            self.states = self.states.replace(bytes([LENT]), bytes([IDLE]))

    def check(self, lent, reserved, what):
        """What sysfs says is what the events say."""
        if self.before is None:
            self.before = reserved
        seen = [self.pages * self.states.count(state) for state in (LENT, RESERVED)]
        if seen != [lent, reserved - self.before]:
            raise Unmeasured(f"{what}: the events make {seen[0]} pages lent and {seen[1]} reserved, "
                             f"sysfs has {lent} and {reserved - self.before}")

    def column(self, state):
        """The share of each row that is in this state, a byte each."""
        size = len(self.states) // ROWS
        return bytes(255 * self.states[i * size:(i + 1) * size].count(state) // size for i in range(ROWS)).hex()


def replay(trace, count, pages):
    """What a trace shows: marks, and the picture's columns."""
    events = [(float(time), event, text) for time, event, text in EVENT.findall(trace)]
    marks = [(time, *text.split(" ", 3)[1:]) for time, event, text in events if event == "tracing_mark_write"]
    if not complete(trace) or len(marks) < 2:
        raise Unmeasured("the trace of the mixed workload is not complete")
    begin, end = marks[0][0], marks[-1][0]
    times = [begin + (i + 0.5) * (end - begin) / COLUMNS for i in range(COLUMNS)]
    blocks = Blocks(count, pages)
    columns = []
    for time, event, text in events:
        for _ in range(len(columns), bisect.bisect_left(times, time)):
            columns.append((blocks.column(LENT), blocks.column(RESERVED)))
        if event == "tracing_mark_write":
            _, lent, reserved, what = text.split(" ", 3)
            blocks.check(int(lent), int(reserved), what)
        else:
            blocks.follow(event, dict(pair.split("=") for pair in text.split()))
    return {"seconds": round(end - begin, 3), "marks": [[round(time - begin, 3), what] for time, _, _, what in marks],
            "lent": [lent for lent, _ in columns], "reserved": [reserved for _, reserved in columns]}


def measure_mixed():
    """States of all blocks over time."""
    profile = machine.PROFILES[PROFILE]
    storage = sum(region.storage_size for region in profile.regions)
    with tempfile.TemporaryDirectory(prefix="tagstorage.") as folder:
        run(PROFILE, ("--out", folder), "/mnt/files3/mixed")
        with open(os.path.join(folder, "trace"), encoding="utf-8") as file:
            found = replay(file.read(), storage // profile.block_size, profile.block_size // (4 * machine.KIB))
    return {"profile": PROFILE, "about": profile.about, "storage_mib": storage // machine.MIB, **found}


def measure_gained():
    """Tag storage lent, by profile and policy: with nothing tagged, and with a tenth of memory tagged."""
    found = []
    for profile, options, policies in GAINED:
        for line in run(profile, options, "/mnt/files3/gained", *policies).splitlines():
            words = line.split()
            if words[:1] == ["gained"]:
                found.append({"profile": profile, "about": machine.PROFILES[profile].about, "policy": words[1],
                              **dict(zip(("lent", "lent_tagged", "total"), map(int, words[2:])))})
    return found
