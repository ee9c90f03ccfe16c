# SPDX-License-Identifier: GPL-2.0
"""
lab/labrun.py - boots a machine of the lab, runs one command in it, and judges the run

The command-line is lab/run's (see there for every option and exit status). Tests in Python may import this:
    result = labrun.run(labrun.Options(kernel="stock", policy="none", command=["uname", "-a"]))
"""

import argparse
import contextlib
import dataclasses
import fcntl
import json
import os
import re
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import machine

LAB = os.path.dirname(os.path.abspath(__file__))

# Exit statuses that are not the command's
NOT_LOADED, STORAGE_TAGGED, AUDIT, KERNEL_REPORT, HANG, NO_MACHINE = 94, 95, 96, 97, 98, 99

# What the kernel says when it found something wrong; the second list: and will not go on.
REPORTS = [
    r"WARNING: ", r"BUG: ", r"INFO: (task|rcu|possible|inconsistent|trying|lockdep|suspicious)",
    r"rcu: INFO: ", r"suspicious RCU usage", r"sleeping function called", r"scheduling while atomic",
    r"list_(add|del) corruption", r"[Bb]ad page (state|map|cache)", r"refcount_t: ", r"ODEBUG: ", r"UBSAN: ",
    r"DEBUG_LOCKS_WARN_ON", r"kmemleak: [1-9]\d* new", r"general protection", r"blocked for more than",
    r"tagstorage: (BUG|corrupt)", r"tagstorage: policy \S+ is thrown out", r"tagstorage: pages .* have been freed",
    r"BUG .*\(.*\): ", r"pagealloc: (memory corruption|single bit error)", r"hard LOCKUP",
    r"EXT4-fs error", r"Corrupted page table", r"mm_struct.*bad rss", r"Synchronous External Abort",
]
FATAL = [r"Kernel panic", r"Internal error", r"Unable to handle kernel", r"kernel BUG at", r"SError"]
REPORT = re.compile("|".join(REPORTS + FATAL))
DEAD = re.compile("|".join(FATAL))
# From then on disks are shut down, and whoever still reads (init does) has an I/O error that says nothing.
OFF = re.compile(r"sysrq: Power Off|reboot: Power down")
AFTER_OFF = re.compile(r"EXT4-fs error")

DEBUG_SLOWDOWN = 4
GRACE = 30          # seconds that a machine gets after a fatal report
EXCERPT = 45        # lines of the console that a report is shown with


class LabError(Exception):
    """The machine could not be had; the text is one sentence."""


@dataclasses.dataclass
class Options:
    """What to run; each field is the option of lab/run with the same name."""
    command: list = dataclasses.field(default_factory=list)
    kernel: str = "patched"
    profile: str = "small"
    policy: str = "cma"
    cpus: int = 0
    files: list = dataclasses.field(default_factory=list)
    out: str = ""
    scratch: int = 0
    balloon: bool = False
    append: str = ""
    insmod: str = ""
    timeout: int = 300
    tag_node: bool = True
    dts: str = ""
    warn_ok: str = ""
    kmemleak: bool = True
    keep_console: str = ""
    ram_info: str = ""
    plugin: str = ""
    interactive: bool = False


@dataclasses.dataclass
class Result:
    status: int
    reason: str         # empty if the status is the command's
    output: str         # the command's, if it was captured
    console: str        # the kernel's


def tool(name, *arguments):
    """Runs a script of the lab, and returns the last line that it prints, if any."""
    done = subprocess.run([os.path.join(LAB, name), *arguments], stdout=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode:
        raise LabError(f"lab/{name} {' '.join(arguments)} failed")
    return (done.stdout.splitlines() or [""])[-1]


@contextlib.contextmanager
def locked(name):
    """Holds the lock that lab/lib.sh calls NAME, shared: nobody builds meanwhile."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    with open(os.path.join(cache, "tagstorage", "lock", name), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def folder_for_ram(size):
    """Memory-backed if there is room: the file is sparse, and machines rarely touch all of a big one."""
    shm = "/dev/shm"
    with contextlib.suppress(OSError):
        room = os.statvfs(shm)
        if room.f_bavail * room.f_frsize > min(size, 8 * machine.GIB):
            return shm
    return tempfile.gettempdir()


def first_nonzero(path):
    """Offset of the first byte of a sparse file that is not zero, or None."""
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        position = 0
        while position < end:
            try:
                position = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:         # only a hole is left
                return None
            file.seek(position)
            chunk = file.read(1 << 20)
            rest = chunk.lstrip(b"\0")
            if rest:
                return position + len(chunk) - len(rest)
            position += len(chunk)
    return None


class Console:
    """The kernel's console, read while it is written."""

    def __init__(self, path, warn_ok):
        self.path = path
        self.lines = []
        self.partial = ""
        self.found = None           # index of the first line that is a report
        self.dead = False
        self.off = False
        self.warn_ok = re.compile(warn_ok) if warn_ok else None
        with open(path, "wb"):
            pass
        self.file = open(path, encoding="utf-8", errors="replace")

    def read(self):
        *lines, self.partial = (self.partial + self.file.read()).split("\n")
        for line in lines:
            self.lines.append(line.rstrip("\r"))
            self.off = self.off or bool(OFF.search(line))
            if REPORT.search(line) and not self.excepted(line):
                if self.found is None:
                    self.found = len(self.lines) - 1
                self.dead = self.dead or bool(DEAD.search(line))

    def excepted(self, line):
        return bool((self.warn_ok and self.warn_ok.search(line)) or (self.off and AFTER_OFF.search(line)))

    def excerpt(self):
        return "\n".join(self.lines[max(0, self.found - 3):self.found + EXCERPT])

    def tail(self):
        return "\n".join([*self.lines[-EXCERPT:], self.partial])


class Run:
    """One machine, from its first file to its end."""

    def __init__(self, options, sink):
        self.options = options
        self.sink = sink            # gets the command's output as bytes
        self.profile = machine.PROFILES[options.profile]
        self.cpus = options.cpus or self.profile.cpus
        self.ram = ""
        self.folder = ""
        self.console = None

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def state(self, name):
        """What the guest's init wrote, or None."""
        with contextlib.suppress(FileNotFoundError):
            with open(self.path("run", "state", name), encoding="utf-8", errors="replace") as file:
                return file.read()
        return None

    def prepare(self):
        """Makes every file of the machine; returns QEMU's arguments."""
        options, profile = self.options, self.profile
        modules = tool("modules", options.kernel) if options.policy != "none" else None
        kernel = tool("kernel", options.kernel)
        root = tool("rootfs")
        programs = tool("build-guest", "guest")

        os.makedirs(self.path("run", "state"))
        shutil.copytree(os.path.join(programs, "guest"), self.path("run", "bin"))
        shutil.copy(os.path.join(LAB, "guest", "init"), self.path("run", "init"))
        if modules:
            shutil.copytree(modules, self.path("run", "modules"))
        else:
            os.mkdir(self.path("run", "modules"))
        with locked(f"kernel-{options.kernel}"):
            shutil.copy(os.path.join(kernel, "arch/arm64/boot/Image"), self.path("Image"))

        with open(self.ram, "wb") as file:
            file.truncate(profile.ram_size)
        with open(self.path("tail"), "wb") as file:
            file.truncate(profile.ram_size // machine.RATIO)
        with open(self.path("code"), "wb") as file:
            file.write(machine.boot_code())
        machine.make_device_tree(profile, self.cpus, self.path("dtb"), self.command_line(),
                                 options.tag_node, self.additions())

        arguments = machine.machine_arguments(profile, self.cpus)
        arguments[1] += ",memory-backend=ram"
        arguments += [
            "-m", f"{profile.ram_size // machine.MIB}M",
            "-object", f"memory-backend-file,id=ram,mem-path={self.ram},size={profile.ram_size},share=on",
            *machine.boot_arguments(self.path("Image"), self.path("dtb"), self.path("code")),
            "-monitor", "none", "-serial", f"file:{self.console.path}",
            "-drive", f"if=none,id=root,format=raw,readonly=on,file={root}",
            # The first bus is probed first, and so the root is /dev/vda whatever else there is.
            "-device", "virtio-blk-device,drive=root,bus=virtio-mmio-bus.0",
        ]
        if profile.icount:
            arguments += ["-icount", "shift=0"]
        shares = self.share(arguments)
        arguments += self.scratch_disk() + self.output_port()
        if self.options.balloon:
            arguments += ["-device", "virtio-balloon-device,free-page-reporting=on"]
        if self.options.plugin:
            arguments += ["-plugin", self.options.plugin]
        self.write_settings(shares)
        return arguments

    def additions(self):
        """The user's own source text for the device tree."""
        if not self.options.dts:
            return ""
        try:
            with open(self.options.dts, encoding="utf-8") as file:
                return file.read()
        except OSError as error:
            raise LabError(f"{self.options.dts} cannot be read: {error.strerror}") from error

    def command_line(self):
        words = ["console=ttyAMA0", "root=/dev/vda", "ro", "init=/stage1", "panic=-1", "oops=panic"]
        if self.is_debug():
            words += ["panic_on_warn=1", "page_table_check=on"]
        return " ".join(words + [self.options.append])

    def is_debug(self):
        return self.options.kernel.endswith("debug")

    def share(self, arguments):
        """Adds the shared folders to QEMU's arguments; returns them as the guest's init wants them."""
        folders = [("run", self.path("run"), False)]
        for i, folder in enumerate(self.options.files):
            if not folder:
                raise LabError("--files has no folder: what should have made it has failed")
            folders.append(("files" + (str(i + 1) if i else ""), os.path.abspath(folder), True))
        if self.options.out:
            os.makedirs(self.options.out, exist_ok=True)
            folders.append(("out", os.path.abspath(self.options.out), False))
        for tag, path, readonly in folders:
            if not os.path.isdir(path):
                raise LabError(f"there is no folder {path} to share")
            arguments += ["-fsdev", f"local,id={tag},path={path},security_model=none,multidevs=remap" +
                          (",readonly=on" if readonly else ""),
                          "-device", f"virtio-9p-device,fsdev={tag},mount_tag={tag}"]
        return " ".join(f"{tag}:{'ro' if readonly else 'rw'}" for tag, _, readonly in folders[1:])

    def scratch_disk(self):
        if not self.options.scratch:
            return []
        disk = self.path("scratch")
        with open(disk, "wb") as file:
            file.truncate(self.options.scratch * machine.MIB)
        subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", disk],
                       check=True)
        return ["-drive", f"if=none,id=scratch,format=raw,cache=unsafe,file={disk}",
                "-device", "virtio-blk-device,drive=scratch"]

    def output_port(self):
        if self.options.interactive:
            return ["-device", "virtio-serial-device", "-chardev", "stdio,id=output,signal=off",
                    "-device", "virtconsole,chardev=output"]
        return ["-device", "virtio-serial-device",
                "-chardev", f"socket,id=output,path={self.path('output')}",
                "-device", "virtserialport,chardev=output,name=output"]

    def write_settings(self, shares):
        options = self.options
        settings = {
            "POLICY": options.policy, "PARAMETERS": options.insmod, "SHARES": shares,
            "SCRATCH": options.scratch or "", "INTERACTIVE": options.interactive or "",
            "KMEMLEAK": options.kmemleak or "", "TERM": os.environ.get("TERM", "linux"),
        }
        with open(self.path("run", "settings"), "w", encoding="utf-8") as file:
            for name, value in settings.items():
                file.write(f"{name}={shlex.quote(str(value))}\n")
        # One word is a script, several are a command with its arguments.
        words = options.command
        with open(self.path("run", "command"), "w", encoding="utf-8") as file:
            file.write((words[0] if len(words) == 1 else shlex.join(words)) + "\n")

    def write_ram_info(self):
        profile = self.profile
        info = {
            "ram": self.ram, "start": machine.RAM_START, "size": profile.ram_size,
            "tail": self.path("tail"), "block_size": profile.block_size,
            "regions": [{"data": machine.RAM_START + r.data, "data_size": r.data_size,
                         "data_offset": r.data, "storage": machine.RAM_START + r.storage,
                         "storage_size": r.storage_size, "storage_offset": r.storage, "node": r.node}
                        for r in profile.regions],
        }
        with open(self.options.ram_info, "w", encoding="utf-8") as file:
            json.dump(info, file, indent=1)

    def environment(self):
        return dict(os.environ, LD_PRELOAD=tool("build-wiring"), TAGSTORAGE_RAM=self.ram,
                    TAGSTORAGE_TAIL=self.path("tail"), TAGSTORAGE_WIRED=self.path("wired"),
                    TAGSTORAGE_WIRING=machine.wiring_table(self.profile))

    def watch(self, qemu, listener):
        """
        Copies output and reads the console until the machine ends, or its time does: the bound (then
        returns True), or what it gets after a fatal report.
        """
        limit = self.options.timeout * self.profile.slow * (DEBUG_SLOWDOWN if self.is_debug() else 1)
        deadline = time.monotonic() + limit if self.options.timeout else float("inf")
        selector = selectors.DefaultSelector()
        if listener:
            selector.register(listener, selectors.EVENT_READ)
        was_dead = False
        while True:
            ended = qemu.poll() is not None
            for key, _ in selector.select(0 if ended else 0.2):
                if key.fileobj is listener:
                    selector.register(listener.accept()[0], selectors.EVENT_READ)
                    selector.unregister(listener)
                    continue
                data = key.fileobj.recv(1 << 16)
                if data:
                    self.sink(data)
                    ended = False
                else:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
            self.console.read()
            if ended:
                return False
            if self.state("started") is not None and not os.path.exists(self.path("wired")):
                qemu.kill()
                raise LabError("QEMU's tag memory was not recognised: this QEMU makes it in another way")
            if self.console.dead and not was_dead:
                was_dead = True
                deadline = min(deadline, time.monotonic() + GRACE)
            if time.monotonic() > deadline:
                return not self.console.dead

    def judge(self, qemu, hung):
        """Status and reason of a machine that has ended."""
        console = self.console
        status = self.state("status")
        if console.found is not None:
            return KERNEL_REPORT, "the kernel reported an error:\n" + console.excerpt()
        if hung:
            return HANG, "the time bound was reached; the console ends in:\n" + console.tail()
        granules = (self.state("granules") or "").strip()
        if granules == "1":
            return NO_MACHINE, "this QEMU keeps one tag for a whole page; version 8.1 or newer is needed"
        if granules == "2" and "nomte" not in self.options.append:
            return NO_MACHINE, "the machine has no MTE"
        if self.state("load-failed") is not None:
            return NOT_LOADED, f"policy {self.options.policy} was not loaded: {self.state('load-failed')}"
        if not (status or "").strip():
            if self.state("started") is None:
                return NO_MACHINE, (f"the machine did not start (QEMU's status {qemu.returncode}); "
                                    "the console ends in:\n" + console.tail())
            return KERNEL_REPORT, ("the machine ended before the command did; the console ends in:\n" +
                                   console.tail())
        if (self.state("kmemleak") or "").strip():
            return KERNEL_REPORT, "kmemleak reported:\n" + self.state("kmemleak")
        audit = self.state("audit")
        if audit is not None and not audit.rstrip().endswith("audit: clean"):
            return AUDIT, "the engine's audit found:\n" + audit
        if self.options.tag_node:
            offset = first_nonzero(self.path("tail"))
            if offset is not None:
                where = machine.RAM_START + offset * machine.RATIO
                return STORAGE_TAGGED, f"tag storage itself was tagged, first at {where:#x}"
        if self.is_debug() and self.options.kmemleak and self.state("kmemleak") is None:
            return KERNEL_REPORT, ("kmemleak was off at the end, so nobody has looked for leaks: leave it more memory, or "
                                   "run this with --no-kmemleak")
        return int(status), ""

    def run(self):
        """Boots, runs, ends, cleans up; returns status and reason."""
        with contextlib.ExitStack() as cleanup:
            self.folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="tagstorage."))
            handle, self.ram = tempfile.mkstemp(prefix="tagstorage-ram.",
                                                dir=folder_for_ram(self.profile.ram_size))
            os.close(handle)
            cleanup.callback(os.unlink, self.ram)
            self.console = Console(self.options.keep_console or self.path("console"), self.options.warn_ok)
            cleanup.callback(self.console.file.close)
            arguments = self.prepare()
            if self.options.ram_info:
                self.write_ram_info()
            listener = None
            if not self.options.interactive:
                listener = cleanup.enter_context(socket.socket(socket.AF_UNIX))
                listener.bind(self.path("output"))
                listener.listen(1)
            qemu = subprocess.Popen(["qemu-system-aarch64", *arguments], env=self.environment(),
                                    stdin=None if self.options.interactive else subprocess.DEVNULL)
            cleanup.callback(qemu.wait)
            cleanup.callback(qemu.kill)
            hung = self.watch(qemu, listener)
            qemu.kill()
            qemu.wait()
            self.console.read()
            return self.judge(qemu, hung)


def run(options, sink=None):
    """Runs options.command in a machine; the output goes to sink, or into the result if there is none."""
    parts = []
    one = Run(options, sink or parts.append)
    try:
        status, reason = one.run()
    except LabError as error:
        status, reason = NO_MACHINE, str(error)
    except subprocess.CalledProcessError as error:
        status, reason = NO_MACHINE, f"{error.cmd[0]} failed"
    console = "\n".join(one.console.lines) if one.console else ""
    return Result(status, reason, b"".join(parts).decode("utf-8", "replace"), console)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="lab/run", description="one command in a machine of the lab",
                                     epilog="profiles: " + "; ".join(
                                         f"{n}: {p.about}" for n, p in machine.PROFILES.items()))
    defaults = Options()
    parser.add_argument("--kernel", default=defaults.kernel)
    parser.add_argument("--profile", default=defaults.profile, choices=machine.PROFILES)
    parser.add_argument("--policy", default=defaults.policy)
    parser.add_argument("--cpus", type=int, default=0)
    parser.add_argument("--files", action="append", default=[], metavar="FOLDER")
    parser.add_argument("--out", default="", metavar="FOLDER")
    parser.add_argument("--scratch", type=int, default=0, metavar="MIB")
    parser.add_argument("--balloon", action="store_true")
    parser.add_argument("--append", default="", metavar="WORDS")
    parser.add_argument("--insmod", default="", metavar="PARAMETERS")
    parser.add_argument("--timeout", type=int, default=defaults.timeout, metavar="SECONDS")
    parser.add_argument("--no-tag-node", dest="tag_node", action="store_false")
    parser.add_argument("--dts", default="", metavar="FILE")
    parser.add_argument("--warn-ok", default="", metavar="REGEX")
    parser.add_argument("--no-kmemleak", dest="kmemleak", action="store_false")
    parser.add_argument("--keep-console", default="", metavar="FILE")
    parser.add_argument("--ram-info", default="", metavar="FILE")
    parser.add_argument("--plugin", default="", metavar="WORDS")
    parser.add_argument("--interactive", action="store_true")
    parser.add_argument("command", nargs="*", metavar="COMMAND")
    parsed = parser.parse_args(arguments)
    if not parsed.command and not parsed.interactive:
        parser.error("there is no command to run")
    return Options(**vars(parsed))


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    def show(data):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    result = run(parse(sys.argv[1:]), show)
    if result.reason:
        print(f"lab/run: {result.reason}", file=sys.stderr)
    return result.status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
