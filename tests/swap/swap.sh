# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# swap/swap.sh - what the tests of this group share. Sourced, never run.
#
# Reads: TOP, LAB, TIER (quick: fewer rounds)

# tier QUICK FULL - the one of the two that TIER asks for
tier() {
	if [ "${TIER:-full}" = full ]; then
		echo "$2"
	else
		echo "$1"
	fi
}

# machine KERNEL OPTION... -- COMMAND... - with the engine loaded, and what guest.sh expects
machine() {
	local kernel=$1
	shift
	"$LAB/run" --kernel "$kernel" --policy carveout --files "$("$LAB/build-guest" anon engine policies trace)" \
		--files "$TOP/tests/engine" --files "$TOP/tests/swap" --files "$("$TOP/tests/swap/build" "$kernel")" \
		--files "$TOP/scripts" "$@"
}
