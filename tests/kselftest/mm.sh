# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# kselftest/mm.sh - what the tests kselftest/mm*.test share. Sourced, never run.
#
# Reads: TOP, LAB; KERNEL and POLICY replace patched and cma

# mm_results KERNEL POLICY PROFILE SCRIPT - runs SCRIPT in a machine; the file $work/KERNEL gets the results of kselftest/mm
mm_results() {
	local status=0
	"$LAB/run" --kernel "$1" --profile "$3" --policy "$2" --timeout 3000 --files "$("$LAB/build-guest")" \
		--files "$TOP/tests/anon" --files "$TOP/tests/kselftest" --files "$("$LAB/kselftest-mm")" \
		--files "$TOP/tests/paths" -- "$4" >"$work/$1.all" 2>&1 || status=$?
	cat "$work/$1.all"
	sed -n 's/^= //p' "$work/$1.all" >"$work/$1"
	[ $status -eq 0 ] || echo "not ok - $1, $2: the machine's exit status $status"
	return $status
}

# mm_compare PROFILE LEAST SCRIPT - the stock kernel's results and ours are the same; at least so many tests passed
mm_compare() {
	local profile=$1 least=$2 script=$3 kernel=${KERNEL:-patched} failed=0 what differ passed
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	mm_results stock none "$profile" "$script" || failed=1
	mm_results "$kernel" "${POLICY:-cma}" "$profile" "$script" || failed=1
	while read -r what; do
		if differ=$(diff <(grep -F "$what: " "$work/stock") <(grep -F "$what: " "$work/$kernel")); then
			echo "ok - $what: $(grep -cF "$what: " "$work/$kernel") results, as on the stock kernel"
		else
			printf '%s\n' "$differ"
			echo "not ok - $what: other results (>) than on the stock kernel (<)"
			failed=1
		fi
	done < <(cat "$work/stock" "$work/$kernel" | sed 's/: .*//' | awk '!seen[$0]++')
	passed=$(grep -E ': (ok [0-9]|.*(OK|done)$)' "$work/$kernel" | grep -vc '# SKIP' || true)
	if [ "$passed" -lt "$least" ]; then
		echo "not ok - $least tests at least pass: $passed"
		failed=1
	fi
	echo "# $passed passed, $(grep -cE '# SKIP|skipped|Skip$' "$work/$kernel" || true) were skipped," \
		"$(grep -cE ': not ok |Fail$|failed' "$work/$kernel" || true) failed"
	return $failed
}
