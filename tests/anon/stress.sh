# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# anon/stress.sh - what the tests anon/stress-*.test share. Sourced, never run.
#
# Reads: TOP, LAB, TIER (quick: a fifth of the operations, but all of them where policies are
#        switched, which takes its time; nobody looks for leaks); KERNEL and POLICY replace the test's
#        own; CHECKS: the checks of the page allocator that must be on in the machine, if that matters
#        (see anon/page-checks);
#        SEED is anonstress's (default: a new one each time; it is printed)

# stress KERNEL PROFILE OPS [LAB/RUN'S OPTION...] [-- [UNDER-PRESSURE'S OPTION...] [-- ANONSTRESS'S OPTION...]]
stress() {
	local kernel=${KERNEL:-$1} profile=$2 ops=$3 options=() pressure=() own=() checks=()
	shift 3
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	[ $# -eq 0 ] || shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		pressure+=("$1")
		shift
	done
	[ $# -eq 0 ] || shift
	own=("$@")
	if [ "${TIER:-full}" != full ]; then
		case " ${pressure[*]} " in
		*' --switch '*) ;;
		*) ops=$((ops / 5)) ;;
		esac
		options+=(--no-kmemleak)
	fi
	if [ -n "${CHECKS:-}" ]; then
		options=(--files "$("$TOP/tests/swap/build" "$kernel" "$TOP/tests/anon/modules")" "${options[@]}")
		# shellcheck disable=SC2206 # several words
		checks=(/mnt/files2/page-checks /mnt/files3 $CHECKS --)
	fi
	# An unpatched kernel loses tags of huge pages.
	[ "${kernel#stock}" = "$kernel" ] || own+=(--no-thp)
	"$LAB/run" --kernel "$kernel" --profile "$profile" --policy "${POLICY:-cma}" \
		--files "$("$LAB/build-guest")" --files "$TOP/tests/anon" --timeout 600 "${options[@]}" -- \
		"${checks[@]}" /mnt/files2/stress "$ops" "${pressure[@]}" -- ${SEED:+--seed "$SEED"} "${own[@]}"
}
