# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# faults/guest.sh - in the guest: what the tests of this group share. Sourced by their scripts.
#
# Expects the test programs at /mnt/files, tests/engine at /mnt/files2. The engine is loaded.

# shellcheck source=tests/engine/guest.sh
. /mnt/files2/guest.sh

# faults MODE NAME... - see faults.c
faults() {
	/mnt/files/faults/faults "$@" || status=1
}

# leave MODULE... - they can be unloaded, and the engine after them, and leaks are looked for
leave() {
	works "unloaded: $*" rmmod "$@"
	wait_for 60 grep -qx carveout $engine/state
	works "the engine can be unloaded" rmmod tagstorage
	works "kmemleak still looks" eval 'echo scan >/sys/kernel/debug/kmemleak'
	works "the engine can be loaded" modprobe tagstorage
	audit "loaded anew"
}
