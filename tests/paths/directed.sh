# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# paths/directed.sh - what the tests paths/*.test that need no swap space share. Sourced, never run.
#
# Reads: TOP, LAB; KERNEL and POLICY replace the test's own

# directed KERNEL PROGRAM [NAME...] - its tests: all, or some; while memory is full of data that is verified, and claims
# must migrate
directed() {
	local kernel=${KERNEL:-$1} program=$2
	shift 2
	"$LAB/run" --kernel "$kernel" --profile tiny --policy "${POLICY:-cma}" --timeout 900 \
		--files "$("$LAB/build-guest")" --files "$TOP/tests/anon" -- \
		"mkdir -p /tmp/huge && mount -t tmpfs -o huge=advise huge /tmp/huge &&
		/mnt/files2/under-pressure -- /mnt/files/paths/$program $*"
}
