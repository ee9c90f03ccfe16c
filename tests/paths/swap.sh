# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# paths/swap.sh - what the tests paths/swap-*.test share. Sourced, never run.
#
# Reads: TOP, LAB; KERNEL, PROFILE and POLICY replace the test's own

# swap KERNEL KIND PROGRAM [NAME...] - its directed tests with swap space of this kind, while memory is full of data that
# is verified, and claims must migrate
swap() {
	local kernel=${KERNEL:-$1} kind=$2 program=$3
	shift 3
	"$LAB/run" --kernel "$kernel" --profile "${PROFILE:-tiny}" --policy "${POLICY:-cma}" --scratch 256 --timeout 900 \
		--files "$("$LAB/build-guest")" --files "$TOP/tests/anon" --files "$TOP/tests/paths" -- \
		/mnt/files2/under-pressure -- /mnt/files3/with-swap "$kind" -- "/mnt/files/paths/$program" "$@"
}
