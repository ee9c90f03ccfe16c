# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# anon/paths.sh - what the tests anon/paths-*.test share. Sourced, never run.
#
# Reads: LAB, TIER (quick: nobody looks for leaks)

# paths KERNEL PROFILE POLICY [NAME...] - directed tests of anonymous memory: all, or some; one line for each
paths() {
	local kernel=$1 profile=$2 policy=$3 options=()
	shift 3
	[ "${TIER:-full}" = full ] || options=(--no-kmemleak)
	"$LAB/run" --kernel "$kernel" --profile "$profile" --policy "$policy" --timeout 600 "${options[@]}" \
		--files "$("$LAB/build-guest")" -- /mnt/files/anon/paths "$@"
}
