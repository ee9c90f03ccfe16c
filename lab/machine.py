# SPDX-License-Identifier: GPL-2.0
"""
lab/machine.py - the lab's machines: the table of profiles, their memory and device tree, QEMU's arguments

A profile is a list of regions (data and the tag storage that covers it) in one run of RAM, which is one
file on the host. The device tree is QEMU's own, with its one memory node replaced by ours. QEMU's -kernel
and -dtb would put that node back; so the lab loads the kernel and the tree itself, as firmware does.
"""

import dataclasses
import struct
import subprocess

RAM_START = 0x40000000
BOOT_CODE = RAM_START + 0x100000    # QEMU puts its own device tree below this
KERNEL = RAM_START + 0x200000
DEVICE_TREE = RAM_START + 0x8000000
RATIO = 32
KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Region:
    """Offsets from the start of RAM, in bytes. The storage is data // RATIO bytes long."""
    data: int
    data_size: int
    storage: int
    node: int = 0

    @property
    def storage_size(self):
        return self.data_size // RATIO


@dataclasses.dataclass(frozen=True)
class Profile:
    regions: tuple
    about: str
    block_size: int = 4 * KIB
    cpus: int = 2
    icount: bool = False            # guest time counts guest instructions
    virtualization: bool = False    # the guest has EL2, and so KVM
    storage_is_memory: bool = True  # storage stands in a memory node; if not, it is hot-addable
    slow: int = 1                   # the time bound is multiplied by this

    @property
    def ram_size(self):
        return max(max(r.data + r.data_size, r.storage + r.storage_size) for r in self.regions)

    @property
    def nodes(self):
        return 1 + max(r.node for r in self.regions)


def above(data_size, data=0, node=0):
    """A region whose storage lies right above its data."""
    return Region(data, data_size, data + data_size, node)


PROFILES = {
    "small": Profile((above(2 * GIB),), "one region, 2 GiB and 64 MiB of tag storage"),
    # The kernel turns huge pages off where it has less than 512 MiB.
    "tiny": Profile((above(768 * MIB),), "one region, 768 MiB and 24 MiB of tag storage: soon full"),
    "block4": Profile((above(2 * GIB),), "as small, block size 16 KiB", block_size=16 * KIB),
    # 63 MiB is a whole number of 12 KiB blocks, and 32 times that starts the storage on a 2 MiB boundary.
    "block3": Profile((above(2016 * MIB),), "as small, block size 12 KiB: not a power of two",
                      block_size=12 * KIB),
    # The second node starts on a boundary of 128 MiB; what is left between the nodes is no memory.
    "numa": Profile((above(GIB), above(GIB, data=1152 * MIB, node=1)), "two nodes with a region each"),
    "mid": Profile((Region(0, GIB, GIB), Region(GIB + 64 * MIB, GIB, GIB + 32 * MIB)),
                   "two regions, both storages in the middle of memory"),
    "count": Profile((above(2 * GIB),), "as small, one CPU, time counts instructions", cpus=1, icount=True,
                     slow=2),
    "count-hotplug": Profile((above(4 * GIB),), "as hotplug, one CPU, time counts instructions", cpus=1, icount=True,
                             storage_is_memory=False, slow=2),
    "count-16g": Profile((above(16 * GIB),), "16 GiB, sparse, one CPU, time counts instructions", cpus=1, icount=True,
                         slow=3),
    "count-64g": Profile((above(64 * GIB),), "64 GiB, sparse, one CPU, time counts instructions", cpus=1, icount=True,
                         slow=6),
    "kvm": Profile((above(768 * MIB),), "as tiny, with KVM in the guest", virtualization=True, slow=2),
    "kvm-numa": Profile((above(512 * MIB), above(512 * MIB, data=640 * MIB, node=1)),
                        "two nodes with a region each, with KVM in the guest", virtualization=True, slow=2),
    # With region 1's storage taken out of System RAM (--dts '/delete-node/ &storage1;'), it is hot-addable.
    "mixed": Profile((above(GIB), above(4 * GIB, data=1152 * MIB)), "two regions, 1 and 4 GiB"),
    "hotplug": Profile((above(4 * GIB),), "4 GiB, storage outside System RAM", storage_is_memory=False),
    "big": Profile((above(64 * GIB),), "64 GiB and 2 GiB of tag storage, sparse", slow=2),
}


def cells(*numbers):
    """Numbers as 64-bit cells of a device tree property."""
    return "<" + " ".join(f"{n >> 32:#x} {n & 0xffffffff:#x}" for n in numbers) + ">"


def memory_node(label, start, size, node):
    return (f'\t{label}: memory@{start:x} {{ device_type = "memory"; reg = {cells(start, size)};'
            f" numa-node-id = <{node}>; }};\n")


def device_tree_additions(profile, cpus, command_line, tag_node=True):
    """Source text that turns QEMU's device tree into the profile's."""
    memory = storage = ""
    for i, r in enumerate(profile.regions):
        memory += memory_node(f"tagged{i}", RAM_START + r.data, r.data_size, r.node)
        start = RAM_START + r.storage
        if profile.storage_is_memory:
            memory += memory_node(f"storage{i}", start, r.storage_size, r.node)
        if tag_node:
            storage += (f'\t\tregion{i}: tag-storage@{start:x} {{ compatible = "arm,mte-tag-storage";'
                        f" reg = {cells(start, r.storage_size)}; block-size = <{profile.block_size:#x}>;"
                        f" tagged-memory = <&tagged{i}>; }};\n")
    quoted = command_line.replace("\\", "\\\\").replace('"', '\\"')
    text = (f"/ {{\n\t/delete-node/ memory@{RAM_START:x};\n}};\n/ {{\n"
            f'\tchosen {{ bootargs = "{quoted}"; }};\n{memory}')
    if storage:
        text += ("\treserved-memory {\n\t\t#address-cells = <2>;\n\t\t#size-cells = <2>;\n\t\tranges;\n"
                 f"{storage}\t}};\n")
    if profile.nodes > 1:
        triples = " ".join(f"{a} {b} {10 if a == b else 20}" for a in range(profile.nodes)
                           for b in range(profile.nodes))
        text += ('\tdistance-map { compatible = "numa-distance-map-v1"; '
                 f"distance-matrix = <{triples}>; }};\n")
    text += "\tcpus {\n"
    for cpu in range(cpus):
        text += f"\t\tcpu@{cpu:x} {{ numa-node-id = <{cpu * profile.nodes // cpus}>; }};\n"
    return text + "\t};\n};\n"


def machine_arguments(profile, cpus):
    """QEMU's arguments that decide what stands in its device tree."""
    machine = "virt,mte=on,gic-version=3" + (",virtualization=on" if profile.virtualization else "")
    return ["-machine", machine, "-cpu", "max,pauth-impdef=on", "-smp", str(cpus),
            "-display", "none", "-net", "none", "-no-reboot"]


def make_device_tree(profile, cpus, path, command_line, tag_node=True, additions=""):
    """Writes the machine's device tree to path; additions is source text appended to it."""
    # Of RAM, QEMU's tree says nothing but the node that is replaced: any size will do.
    arguments = machine_arguments(profile, cpus) + ["-m", "1G"]
    arguments[1] += f",dumpdtb={path}"
    subprocess.run(["qemu-system-aarch64", *arguments], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)
    dumped = subprocess.run(["dtc", "-q", "-I", "dtb", "-O", "dts", path], check=True,
                            capture_output=True, text=True).stdout
    source = dumped + device_tree_additions(profile, cpus, command_line, tag_node) + additions
    # The dump is padded to 1 MiB, and the kernel hangs on such a tree: -p repacks it.
    subprocess.run(["dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-p", "8192", "-o", path, "-"], check=True,
                   input=source, text=True)


def boot_code():
    """x0 = DEVICE_TREE, x1 to x3 = 0, jump to KERNEL: the arm64 boot protocol."""
    return struct.pack("<6I", 0xd2a00000 | (DEVICE_TREE >> 16) << 5, 0xaa1f03e1, 0xaa1f03e2, 0xaa1f03e3,
                       0xd2a00004 | (KERNEL >> 16) << 5, 0xd61f0080)


def boot_arguments(image, tree, code):
    """QEMU's arguments that load three files, the last of which is boot_code(), and start there."""
    arguments = []
    for path, address in ((image, KERNEL), (tree, DEVICE_TREE), (code, BOOT_CODE)):
        arguments += ["-device", f"loader,file={path},addr={address:#x},force-raw=on"]
    return arguments + ["-device", f"loader,addr={BOOT_CODE:#x},cpu-num=0"]


def wiring_table(profile):
    """The table that lab/wiring.c reads."""
    return f"{profile.ram_size}:" + ";".join(f"{r.data},{r.data_size},{r.storage}" for r in profile.regions)
