# SPDX-License-Identifier: GPL-2.0
"""
lab/measure.py - the long rulers of lab/bench: what B9 and the bounds after it need, each on machines of its own

A ruler has two parts: what it measures, which goes to results.json as it is, and how that is judged. Each looks at its
figures before it returns them: one that cannot be right is an error, and no figure. docs/performance.md has the method.
"""

import dataclasses
import glob
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import typing

import labrun
from mixed import NODE, Unmeasured

LAB = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(LAB)

RUNS = 5                                # of B9: the median of so many
PERCENTS = (1, 3, 10, 30, 50)           # of memory that is tagged
PERCENT = 19 * 256                      # pages of 4 KiB: what tests/bench/aged.c takes for a percent
COVERED = 32                            # pages whose tags fit in one page of tag storage


def say(*words):
    print("bench:", *words, file=sys.stderr, flush=True)


def run(command, profile="small", policy="cma", options=(), top=TOP, files=(), timeout=1800):
    """One machine; returns what the command prints. At /mnt/files are tests/bench's programs, at files2 its scripts."""
    folders = (labrun.tool("build-guest", "bench"), os.path.join(TOP, "tests", "bench"), *files)
    shared = [word for folder in folders for word in ("--files", folder)]
    done = subprocess.run([os.path.join(top, "lab", "run"), "--profile", profile, "--policy", policy,
                           "--timeout", str(timeout), *shared, *options, "--", *command],
                          stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Unmeasured(f"{' '.join(command)} on {profile} ended with exit status {done.returncode}: "
                         f"{(done.stdout.splitlines() or ['no output'])[-1]}")
    return done.stdout


def lines(output, word):
    """The rest of each line that begins with this word, split."""
    return [line.split()[1:] for line in output.splitlines() if line.split()[:1] == [word]]


def sane(good, what):
    """A figure that cannot be right is none."""
    if not good:
        raise Unmeasured(f"this cannot be right: {what}")


# B8

FULL_LEAVE, ROUNDS = 128, 3             # MiB for a program; the median of so many
PROGRAMS = {"python3": 8192, "sqlite3": 512, "gcc": 256}    # KiB that must be tagged
PROGRAM_CONFIGS = {                     # policy, profile, options, what it is compared with
    "carveout": ("carveout", "count", (), None), "cma": ("cma", "count", (), "carveout"),
    "metadata": ("metadata", "count", (), "carveout"), "reference": ("cma", "count", (), "carveout"),
    "carveout-4g": ("carveout", "count-hotplug", (), None), "movable": ("movable", "count-hotplug", (), "carveout-4g"),
    "node": ("node", "count-hotplug", NODE, "carveout-4g"),
}


def check_programs(name, found):
    sane(set(found) == set(PROGRAMS), f"B8, {name}: figures of {', '.join(found)}")
    for program, one in found.items():
        where = f"B8, {name}, {program}: {one}"
        times = [work["time"] for work in one["rounds"]]
        sane(one["kib"] >= PROGRAMS[program] and len(times) == ROUNDS, where)
        # Less than a tenth of a second are no instructions of an interpreter; the same work takes as long each time.
        sane(min(times) > 1e8 and max(times) < 1.25 * min(times), where)
        for work in one["rounds"]:
            lends = PROGRAM_CONFIGS[name][0] != "carveout"
            sane(not lends or work["used"] > 1000, f"{where}: memory is not full")
            sane((work["free"] + work["migrated"] > 0) == lends, where)


def programs(name, top=TOP):
    """One run of tests/bench/programs."""
    policy, profile, options, _ = PROGRAM_CONFIGS[name]
    output = run(["/mnt/files2/programs", str(FULL_LEAVE), str(ROUNDS)], profile, policy, options, top, timeout=3000,
                 files=[os.path.join(TOP, "tests", "real")])
    found, program = {}, None
    for line in output.splitlines():
        word, *words = line.split()
        if word == "program":
            program = found[words[0]] = {"kib": int(words[1]), "rounds": []}
        elif word == "round":
            program["rounds"].append(dict(zip(("time", "used", "free", "migrated"), map(int, words))))
    check_programs(name, found)
    return found


def measure_programs(options):
    found = {}
    with tempfile.TemporaryDirectory(prefix="tagstorage.") as folder:
        options.make_reference(folder)
        for name in PROGRAM_CONFIGS:
            say(f"B8: {name}")
            found[name] = programs(name, folder if name == "reference" else TOP)
    return found


def program_time(found, name, program):
    return statistics.median(work["time"] for work in found[name][program]["rounds"])


def judge_programs(found, row):
    for program in PROGRAMS:
        for name, (_, _, _, base) in PROGRAM_CONFIGS.items():
            if base in found and name in found:
                against = program_time(found, base, program)
                row("B8", f"{program}, tagged heap, memory full", name, program_time(found, name, program), against,
                    1.03 * against, "+3 %", judged=name != "reference")


# B9

def check_shares(one):
    """Blocks are neither fewer than the tags need, nor more than there are, and B was made as its definition wants."""
    sane(one["how"] != "b" or one["large"] == 0, f"B9: memory is full, and {one['large']} large blocks are free")
    before = 0
    for share in one["shares"]:
        where = f"B9 {one['how']}, {share['percent']} %"
        wanted = share["percent"] * PERCENT
        sane(wanted <= share["tagged"] < wanted * 1.01 + 64,
             f"{where}: {share['tagged']} pages are tagged, not {wanted}")
        # What is in the stashes of the CPUs keeps a block reserved for half a second. Where hardly anything is free,
        # the kernel's own compaction moves pages meanwhile, wherever there is room: 100,000 in all of one run.
        more = share["once"] // 20 if share["percent"] >= 50 else 0
        sane(math.ceil(wanted / COVERED) <= share["settled"] <= share["once"] + 2 * one["cpus"] + 4 + more,
             f"{where}: {share['once']} pages of tag storage are reserved, and {share['settled']} when all is settled")
        sane(before < share["settled"] and share["once"] < share["total"], f"{where}: {share}")
        before = share["settled"]


def aged(how, policy="cma", cpus=2, percents=PERCENTS, profile="small"):
    """One run of tests/bench/aged.c."""
    options = [] if cpus == 2 else ["--cpus", str(cpus)]
    output = run(["/mnt/files/bench/aged", how, *map(str, percents)], profile, policy, options)
    names = ("percent", "tagged", "total", "once", "settled")
    one = {"how": how, "policy": policy, "cpus": cpus, "large": int(lines(output, "large")[0][0]),
           "shares": [dict(zip(names, map(int, words))) for words in lines(output, "share")]}
    sane([share["percent"] for share in one["shares"]] == list(percents), f"B9 {how}: figures of other shares")
    check_shares(one)
    return one


def measure_aged(options):
    found = []
    for how, cpus in (("a", 2), ("b", 2), ("a", 1), ("b", 1)):
        for number in range(options.runs):
            say(f"B9: {how}, CPUs: {cpus}, run {number + 1} of {options.runs}")
            # A run whose figures can't be right costs no other its own; with too few, nothing is judged.
            try:
                found.append(aged(how, cpus=cpus))
            except Unmeasured as reason:
                say(f"B9: left out: {reason}")
    say("B9: fresh memory")
    found.append(aged("fresh"))
    return found


def lendable(runs, how, cpus, when, percent=10):
    """Percent of tag storage that can be lent, in each run."""
    return [100 * (1 - share[when] / share["total"]) for one in runs for share in one["shares"]
            if (one["how"], one["cpus"], share["percent"]) == (how, cpus, percent)]


def judge_aged(runs, row):
    for how, limits in (("a", (("once", "at once", 88), ("settled", "settled", 90))),
                        ("b", (("once", "at once", 78), ("settled", "settled", 88)))):
        for cpus in (2, 1):
            for when, text, limit in limits:
                values = lendable(runs, how, cpus, when)
                if not values:
                    continue
                what = f"{how.upper()}, {text}, CPUs: {cpus}, " + ("single run" if len(values) == 1 else
                                                                  f"median of {len(values)}")
                row("B9", what, "cma", statistics.median(values), None, limit, f">= {limit} %",
                    judged=cpus == 2 and len(values) >= RUNS, least=True)


def short_aged():
    """For the tests: pages of tag storage that are reserved, on the machine whose runs differ least, by 0.4 %."""
    figures = {}
    for how in ("a", "b"):
        share = aged(how, cpus=1, percents=(10,), profile="count")["shares"][0]
        for when in ("once", "settled"):
            figures[f"cma B9 {how}, reserved, {when}"] = share[when]
    return figures


# B10

OPERATIONS = 1000000
LIVE = 190 * 256                        # pages, as in tests/bench/churn.c


def density(sample):
    """Blocks that are reserved, for one that the tagged pages need."""
    return sample["reserved"] / math.ceil(sample["tagged"] / COVERED)


def check_churn(one, operations):
    samples = one["samples"]
    live = [sample["live"] for sample in samples]
    sane(len(samples) == 1000 and samples[-1]["operation"] == operations, f"B10: {len(samples)} samples")
    sane(min(live) < LIVE * 0.52 and max(live) > LIVE * 1.48, f"B10: from {min(live)} to {max(live)} pages live")
    for sample in samples:
        # The zero page is tagged as well; prepared already are what is in the stash, and what the worker is about to
        # move others to.
        sane(sample["live"] <= sample["tagged"] <= sample["live"] + 2 * COVERED + 1, f"B10: tagged pages: {sample}")
        sane(sample["reserved"] >= math.ceil(sample["live"] / COVERED), f"B10: blocks: {sample}")
    work = one["work"]
    sane(work["gathered"] > 0, "B10: the worker moved nothing")
    # Lending released blocks again is work of kernel workers as well, and not part of the 5 %.
    sane(work["workers"] < 0.15 * work["elapsed"], f"B10: kernel workers ran {work['workers']} of {work['elapsed']} ns")


def churn(policy, operations=OPERATIONS):
    """One run of tests/bench/churn.c."""
    output = run(["/mnt/files/bench/churn", str(operations)], "count", policy, timeout=3000)
    samples = [dict(zip(("operation", "live", "tagged", "reserved"), map(int, words)))
               for words in lines(output, "sample")]
    work = dict(zip(("elapsed", "workers", "gathered", "cleared"), map(int, lines(output, "work")[0])))
    one = {"policy": policy, "operations": operations, "samples": samples, "work": work}
    check_churn(one, operations)
    return one


def measure_churn(_options):
    return [churn(policy) for policy in ("cma", "metadata")]


def judge_churn(runs, row):
    for one in runs:
        last = one["samples"][-len(one["samples"]) // 10:]
        row("B10", "blocks reserved for one needed, tagged churn", one["policy"],
            statistics.mean(map(density, last)), None, 1.15, "1.15")
        row("B10", "kernel workers' share of instructions, %", one["policy"],
            100 * one["work"]["workers"] / one["work"]["elapsed"], None, None, "", judged=False)


# B11

RESERVED = 8192                         # pages that each CPU touches, so 256 blocks of its own
INITS = re.compile(r"(?:spin_lock_init|raw_spin_lock_init|rwlock_init|mutex_init|init_rwsem)\((&[\w>.-]+)\)")
DEFINED = re.compile(r"(?:DEFINE_(?:RAW_)?(?:MUTEX|SPINLOCK|RWLOCK)|DECLARE_RWSEM)\((\w+)\)")
FUNCTION = re.compile(r"^(?:static |noinline |inline )*\w[\w *]*?(\w+)\([^;]*?\)\n\{", re.M)


def source(name):
    with open(os.path.join(TOP, "tagstorage_mod", name), encoding="utf-8") as file:
        return file.read()


def engine_locks():
    """The names under which lockdep knows the locks of engine and policies."""
    code = "\n".join(source(os.path.relpath(path, os.path.join(TOP, "tagstorage_mod"))) for path in
                     sorted(glob.glob(os.path.join(TOP, "tagstorage_mod", "**", "*.c"), recursive=True)))
    return sorted({*DEFINED.findall(code), *INITS.findall(code)})


def check_locks(one):
    where = f"B11, {one['cpus']} CPUs"
    claims, others = one["claims"]
    # The trace sees locks: one that the engine takes when a policy is chosen, and zone->lock.
    sane("tagstorage_lend_mutex" in one["control"], f"{where}: the trace shows {one['control'] or 'no lock'}")
    needed = one["cpus"] * RESERVED // COVERED
    sane(0.9 * needed <= claims <= 1.2 * needed, f"{where}: {claims} claims, {needed} blocks are needed")
    sane(others < 0.01 * needed, f"{where}: {others} claims of blocks in use, memory is free")
    sane(sum(one["zone"].values()) >= needed / 16, f"{where}: zone->lock is taken {one['zone']}")


def locks(cpus, policy, profile="small"):
    """One run of tests/bench/locks."""
    output = run(["/mnt/files2/locks", str(RESERVED), str(cpus), *engine_locks()], profile, policy,
                 ("--kernel", "debug", "--cpus", "4", "--no-kmemleak"), timeout=900)
    one = {"cpus": cpus, "policy": policy, "control": [" ".join(words) for words in lines(output, "control")],
           "claims": [int(word) for word in lines(output, "claims")[0]],
           "locks": [[address, int(cpu), int(times), " ".join(name)] for address, cpu, times, *name in
                     lines(output, "lock")],
           "zone": {where: int(times) for where, times in lines(output, "zone")}}
    check_locks(one)
    return one


def measure_locks(_options):
    return [locks(cpus, policy) for policy in ("cma", "metadata") for cpus in (2, 4)]


def shared_locks(one):
    """How many locks of the engine are taken by more than one CPU."""
    users = {}
    for address, cpu, _, name in one["locks"]:
        users.setdefault((address, name), set()).add(cpu)
    return sum(len(cpus) > 1 for cpus in users.values())


def judge_locks(runs, row):
    claiming = set(FUNCTION.findall(source("claim.c")))
    for one in runs:
        row("B11", f"locks of the engine that two of {one['cpus']} CPUs take", one["policy"], shared_locks(one), None,
            0, "0")
        row("B11", f"zone->lock, times a claim, {one['cpus']} CPUs", one["policy"],
            sum(times for where, times in one["zone"].items() if where in claiming) / one["claims"][0], None, 1, "1")


# IPI

TOUCHED, TOUCHED_LEAVE = 4096, 128      # pages that each CPU touches; MiB that are left for that in full memory
NOISE = 0.05                            # IPIs a claim that may be somebody else's
COUNTS = ("free", "others", "moved", "rescheduling", "calls", "rest", "tlbi")
COUNTED_CONFIGS = ("carveout", "cma", "metadata", "reference")


def check_interrupts(one):
    where = f"IPI, {one['name']}, {one['cpus']} CPUs: {one}"
    needed = one["cpus"] * TOUCHED // COVERED
    sane(set(one) == {"name", "cpus", "fresh", "full"}, where)
    for memory in ("fresh", "full"):
        work = one[memory]
        sane(set(work) == set(COUNTS), where)
        # Who moves a page unmaps it first.
        sane(work["tlbi"] >= work["moved"] / COVERED, where)
        sane(work["moved"] <= 2 * COVERED * needed, where)
    if one["name"] == "carveout":
        sane(not any(one[memory][what] for memory in ("fresh", "full") for what in ("free", "others", "moved")), where)
    else:
        sane(0.9 * needed <= one["fresh"]["free"] and one["fresh"]["others"] < 0.05 * needed, where)
        sane(0.5 * needed <= one["full"]["others"], where)


def interrupts(name, cpus, plugin, top=TOP):
    """One machine: tests/bench/reserve in fresh memory, and in full memory."""
    reserve = f"/mnt/files/bench/reserve {cpus} {TOUCHED}"
    with tempfile.NamedTemporaryFile(mode="r", prefix="tagstorage.") as counted:
        output = run(["sh", "-c", f"{reserve} && /mnt/files/bench/full {TOUCHED_LEAVE} 1 {reserve}"], "small",
                     PROGRAM_CONFIGS[name][0], ("--cpus", str(cpus), "--plugin", f"{plugin},out={counted.name}"), top)
        tlbi = lines(counted.read(), "tlbi")
    one = {"name": name, "cpus": cpus}
    for memory, claims, moved, ipis, count in zip(("fresh", "full"), lines(output, "claims"), lines(output, "moved"),
                                                  lines(output, "ipis"), tlbi):
        one[memory] = dict(zip(COUNTS, map(int, (*claims, *moved, *ipis, *count))))
    check_interrupts(one)
    return one


def measure_interrupts(options):
    found = []
    with tempfile.TemporaryDirectory(prefix="tagstorage.") as folder:
        plugin = os.path.join(folder, "tlbi.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-fvisibility=hidden", "-O2", "-o", plugin,
                        os.path.join(TOP, "tests", "engine", "plugins", "tlbi.c")], check=True)
        options.make_reference(os.path.join(folder, "reference"))
        for name in COUNTED_CONFIGS:
            for cpus in (2, 4):
                say(f"IPI: {name}, {cpus} CPUs")
                found.append(interrupts(name, cpus, plugin, os.path.join(folder, "reference")
                                        if name == "reference" else TOP))
    return found


def judge_interrupts(runs, row):
    """Threads that start and end, and timers, cause some on their own: as many as at `carveout` are not the claims'."""
    base = {one["cpus"]: one for one in runs if one["name"] == "carveout"}
    for one in runs:
        if one["name"] == "carveout" or one["cpus"] not in base:
            continue
        for memory, what in (("fresh", "free blocks"), ("full", "blocks in use")):
            work, alone, cpus = one[memory], base[one["cpus"]][memory], f"{one['cpus']} CPUs"
            claims = work["free"] + work["others"]
            for count, text in (("calls", "call IPIs"), ("rescheduling", "rescheduling IPIs")):
                row("IPI", f"{text} a claim, {what}, {cpus}", one["name"], max(0, work[count] - alone[count]) / claims,
                    None, NOISE, f"0 ({NOISE})", judged=one["name"] != "reference")
            for count, text in (("tlbi", "TLB invalid."), ("moved", "pages moved")) if memory == "full" else ():
                row("IPI", f"{text} a claim, {what}, {cpus}", one["name"], work[count] / claims, None, None, "",
                    judged=False)


# B12

SIZES = {"count": 2, "count-16g": 16, "count-64g": 64}      # profiles, and GiB that are covered
KEPT = 64                               # KiB for each GiB
LINEAR = 1.1                            # so much steeper may a straight line become
COSTS = {"load": "load the engine", "there": "swap from carveout", "lent": "until all is lent",
         "back": "swap to carveout", "unload": "unload the engine"}


def check_bookkeeping(one):
    # A bit for each page that is covered and a word for each block is what it cannot do without.
    least = one["storage"] * COVERED // 8 + one["storage"] // one["block"] * 2
    where, kept, costs = f"B12, {one['gib']} GiB", sum(one["kept"].values()), one["costs"]
    sane(one["storage"] == one["gib"] * 8192, f"{where}: {one['storage']} pages of tag storage")
    sane(0.95 * one["storage"] < one["lent"] <= one["storage"], f"{where}: {one['lent']} pages are lent")
    sane(least < kept < 10 * least, f"{where}: {kept} bytes are kept, {least} are needed: {one['kept']}")
    sane(set(costs) == set(COSTS), f"{where}: {costs}")
    for cost in costs.values():
        sane(0 <= cost["instructions"] <= cost["ns"] > 0, f"{where}: {costs}")


def bookkeeping(profile, gib, policy="cma"):
    """One run of tests/bench/bookkeeping."""
    output = run(["/mnt/files2/bookkeeping", policy], profile, "carveout", timeout=2400)
    numbers = {name: int(value) for name, value in lines(output, "number")}
    kept = {where: int(size) for size, where in lines(output, "kept")}
    costs = {name: {"instructions": int(work), "ns": int(ns)} for name, work, ns in lines(output, "figure")}
    one = {"profile": profile, "gib": gib, "policy": policy, "kept": kept, "costs": costs, **numbers}
    check_bookkeeping(one)
    return one


def measure_bookkeeping(_options):
    return [bookkeeping(profile, gib) for profile, gib in SIZES.items()]


def steepness(runs, name):
    """
    The slope between the two largest machines, for one between the two smallest. Where these take the same, what the
    largest takes, for one that it would if it grew as the size does.
    """
    small, middle, large = sorted((one["gib"], one["costs"][name]["ns"]) for one in runs)
    below, above = ((b[1] - a[1]) / (b[0] - a[0]) for a, b in ((small, middle), (middle, large)))
    return above / below if below > 0 else large[1] / middle[1] / (large[0] / middle[0])


def judge_bookkeeping(runs, row):
    for one in runs:
        row("B12", f"bookkeeping, KiB for each GiB, of {one['gib']} GiB", one["policy"],
            sum(one["kept"].values()) / 1024 / one["gib"], None, KEPT, f"{KEPT} KiB")
    for name, what in COSTS.items():
        for one in runs:
            row("B12", f"{what}, {one['gib']} GiB, ms", one["policy"], one["costs"][name]["ns"] / 1e6, None, None, "",
                judged=False)
        if len(runs) == len(SIZES):
            row("B12", f"{what}: steeper above 16 GiB than below", runs[0]["policy"], steepness(runs, name), None,
                LINEAR, f"{LINEAR} x: linear")


# B13

TOUCHES = 200000
SWAPPED = ((("cma", "metadata"), "small", ()), (("movable",), "hotplug", ()),
           (("node",), "hotplug", NODE))


def check_swapping(found, policies):
    """Of touches that are as likely everywhere, as many miss as memory is missing, but for what the kernel needs."""
    base = found["carveout"]
    sane(set(found) == {"carveout", *policies}, f"B13: figures of {', '.join(found)}")
    for policy, one in found.items():
        missing = (base["size"] - one["memory"]) / base["size"] * TOUCHES
        where = f"B13, {policy}: {one}"
        sane(one["size"] == base["size"] and one["memory"] < one["size"], where)
        sane(0.3 * missing < one["major"] < 5 * missing, where)
        sane((one["lent"] > 0) == (policy != "carveout"), where)
        sane(policy == "carveout" or 0.5 < (one["memory"] - base["memory"]) / one["lent"] < 1.5, where)


def swapping(policies, profile, options):
    """One run of tests/bench/swapping."""
    output = run(["/mnt/files2/swapping", str(TOUCHES), *policies], profile, "carveout", options, timeout=3000,
                 files=[os.path.join(TOP, "tests", "engine")])
    found = {policy: dict(zip(("memory", "lent", "size"), map(int, words)))
             for policy, *words in lines(output, "memory")}
    for policy, *words in lines(output, "faults"):
        found[policy].update(zip(("major", "resident"), map(int, words)))
    check_swapping(found, policies)
    return {"profile": profile, "touches": TOUCHES, "policies": found}


def measure_swapping(_options):
    return [swapping(*one) for one in SWAPPED]


def judge_swapping(runs, row):
    for one in runs:
        base = one["policies"]["carveout"]
        for policy, found in one["policies"].items():
            if policy == "carveout":
                continue
            share = 1.05 * (base["size"] - found["memory"]) / (base["size"] - base["memory"])
            row("B13", "major faults, zram swap, 110 % of memory", policy, found["major"], base["major"],
                share * base["major"], f"{share:.3f} x")


@dataclasses.dataclass(frozen=True)
class Ruler:
    about: str
    measure: typing.Callable        # of the options; returns what goes to results.json
    judge: typing.Callable          # of that, and of Bounds.row()


RULERS = {
    "B8": Ruler("real programs on a tagged heap, memory full", measure_programs, judge_programs),
    "B9": Ruler("storage that can be lent in an aged machine", measure_aged, judge_aged),
    "B10": Ruler("tagged churn", measure_churn, judge_churn),
    "B11": Ruler("engine locks shared by CPUs", measure_locks, judge_locks),
    "IPI": Ruler("IPIs, TLB invalidations and migrations, 2 and 4 CPUs", measure_interrupts, judge_interrupts),
    "B12": Ruler("bookkeeping, time to load and to swap a policy", measure_bookkeeping, judge_bookkeeping),
    "B13": Ruler("major faults with zram swap", measure_swapping, judge_swapping),
}
