# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# swap/guest.sh - in the guest: what the tests of switching share. Sourced by their scripts.
#
# Expects the test programs at /mnt/files, tests/engine at /mnt/files2, this folder at /mnt/files3, and the test
# policies at /mnt/files4. Sets besides what guest.sh of tests/engine sets: $at_boot, MemTotal with nothing lent

# shellcheck source=tests/engine/guest.sh
. /mnt/files2/guest.sh
at_boot=$(memtotal)

# active - the policy in brackets
active() {
	sed 's/.*\[\(.*\)\].*/\1/' $engine/policy
}

# is_active NAME
is_active() {
	[ "$(active)" = "$1" ]
}

# change FIELD... - of last_change: number reason from to error seconds
change() {
	local number reason from to error seconds field
	read -r number reason from to error seconds <$engine/last_change
	for field in "$@"; do
		printf '%s ' "${!field}"
	done | sed 's/ $//'
}

# holds_nothing
holds_nothing() {
	[ -z "$(cat $engine/holders)" ]
}

# said - what the engine has logged since the last call
said() {
	dmesg --read-clear --notime | sed -n 's/^tagstorage: //p'
}

# refill PID READY - a program that fills memory uses all that is lent by now
refill() {
	rm -f "$2"
	kill -USR1 "$1"
	wait_for 600 test -e "$2" || result 1 "memory is full again"
}

# nothing_left WHAT - all is back, the machine is as at boot
nothing_left() {
	wait_for 120 holds_nothing
	same "$(cat $engine/holders)" "" "$1: nothing holds the engine"
	same "$(cat $engine/state)" carveout "$1: its state is carveout"
	same "$(sum lent_pages)" 0 "$1: nothing is lent"
	same "$(memtotal)" "$at_boot" "$1: MemTotal is as at boot"
	audit "$1"
}

# only_zero_page WHAT - nothing is prepared any more but the zero page, which is as long as the engine is loaded
only_zero_page() {
	wait_for 120 number_is reserved_pages 1
	same "$(sum tagged_pages) $(sum reserved_pages)" "1 1" "$1: tagged and reserved pages are those of the zero page"
}
