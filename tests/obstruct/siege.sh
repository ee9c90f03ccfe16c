# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# obstruct/siege.sh - what the tests of this group share. Sourced, never run.
#
# Reads: TOP, LAB; KERNEL and POLICY replace patched and cma

# siege PROFILE [UNDER-SIEGE'S OPTION...] METHODS... - one machine, one round for each of METHODS
siege() {
	local profile=$1
	shift
	"$LAB/run" --kernel "${KERNEL:-patched}" --profile "$profile" --policy "${POLICY:-cma}" --scratch 256 --balloon \
		--timeout 1500 --files "$("$LAB/build-guest" obstruct)" --files "$TOP/tests/obstruct" -- /mnt/files2/under-siege "$@"
}
