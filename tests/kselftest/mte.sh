# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# kselftest/mte.sh - what the tests kselftest/mte*.test share. Sourced, never run.
#
# Reads: TOP, LAB; KERNEL and POLICY replace the test's own

# mte PROFILE POLICY [WORD...] - the kernel's own MTE tests in one machine, run by under-pressure if these words name it
mte() {
	local profile=$1 policy=$2
	shift 2
	"$LAB/run" --kernel "${KERNEL:-patched}" --profile "$profile" --policy "${POLICY:-$policy}" --scratch 300 \
		--timeout 900 --files "$("$LAB/build-guest")" --files "$TOP/tests/anon" --files "$TOP/tests/kselftest" \
		--files "$("$LAB/kselftest-mte")" -- "$@" /mnt/files3/all /mnt/files4
}
