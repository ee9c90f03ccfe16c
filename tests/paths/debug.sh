# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# paths/debug.sh - what the tests paths/debug*.test share. Sourced, never run.
#
# Reads: TOP, LAB, TIER (quick: nobody looks for leaks); KERNEL replaces the kernel `debug`

# on_debug SHARED OTHER SWAP - tests of the three programs, by name, on a kernel that checks itself. All lent storage is in
# use, so that claims must migrate; memory is not full, because verifying all of it takes too long there
# (anon/stress-debug has that)
on_debug() {
	local options=()
	[ "${TIER:-full}" = full ] || options=(--no-kmemleak)
	"$LAB/run" --kernel "${KERNEL:-debug}" --profile tiny --policy metadata --timeout 1200 "${options[@]}" \
		--files "$("$LAB/build-guest")" --files "$TOP/tests/anon" --files "$TOP/tests/paths" -- "
		mkdir -p /tmp/huge && mount -t tmpfs -o huge=advise huge /tmp/huge || exit
		/mnt/files2/under-pressure --storage -- bash -c '
			status=0
			/mnt/files/paths/shared ${1//$'\n'/ } || status=1
			/mnt/files/paths/other ${2//$'\n'/ } || status=1
			/mnt/files3/with-swap zram -- /mnt/files/paths/swap ${3//$'\n'/ } || status=1
			exit \$status'"
}
