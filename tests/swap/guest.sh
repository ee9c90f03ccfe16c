# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# swap/guest.sh - in the guest: what the tests of switching share. Sourced by their scripts.
#
# Expects the test programs at /mnt/files, tests/engine at /mnt/files2, this folder at /mnt/files3, and the test
# policies at /mnt/files4. Sets besides what guest.sh of tests/engine sets: $at_boot, MemTotal with nothing lent, and
# $tracing

# shellcheck source=tests/engine/guest.sh
. /mnt/files2/guest.sh
at_boot=$(memtotal)
tracing=/sys/kernel/tracing

# active - the policy in brackets
active() {
	local line
	read -r line <$engine/policy
	line=${line#*\[}
	echo "${line%%\]*}"
}

# is_active NAME
is_active() {
	[ "$(active)" = "$1" ]
}

# change FIELD... - of last_change: number reason from to error seconds
change() {
	local number reason from to error seconds field words=()
	read -r number reason from to error seconds <$engine/last_change
	for field in "$@"; do
		words+=("${!field}")
	done
	echo "${words[*]}"
}

# ended PID - it is no process any more
ended() {
	! kill -0 "$1" 2>/dev/null
}

# holds_nothing
holds_nothing() {
	[ -z "$(<$engine/holders)" ]
}

# in_use - pages of what is lent that somebody has
in_use() {
	echo $(($(sum lent_pages) - $(sum free_pages)))
}

# uses PAGES - somebody has that much of it
uses() {
	[ "$(in_use)" -ge "$1" ]
}

# all_back - what policies had to leave behind has come back, and no region that something is out of is without a policy
all_back() {
	! grep -qvE '^region[0-9]+ policy=[a-z_]+ lent=[0-9]+ draining=0 ' "$engine/holders"
}

# said - what the engine has logged since the last call
said() {
	dmesg --read-clear --notime | sed -n 's/^tagstorage: //p'
}

# log_is WHAT - the engine has logged since the last call what stdin says, word for word
log_is() {
	local good=0
	said >/tmp/said
	diff - /tmp/said >/tmp/differs || good=1
	[ $good -eq 0 ] || head -n 40 /tmp/differs
	result $good "the log, word for word: $1"
}

# choices N NAME... - chooses one after the other, N times in all; prints how often that was refused
choices() {
	local count=$1 refused=0 i
	shift
	for ((i = 0; i < count; i++)); do
		set_policy "${@:i % $# + 1:1}" 2>/dev/null || refused=$((refused + 1))
	done
	echo $refused
}

# chosen N FROM NAME... - what the log says of choices(), while FROM was active before
chosen() {
	local count=$1 from=$2 to i
	shift 2
	for ((i = 0; i < count; i++)); do
		to=${*:i % $# + 1:1}
		[ "$to" = "$from" ] || echo "policy $to is active (was $from), chosen by the user"
		from=$to
	done
}

# gone NAME, loaded NAME - what it says when the module of the active policy is removed, and when it is loaded again
gone() {
	echo "policy carveout is active (was $1), because the other is removed"
}

loaded() {
	echo "policy $1 is active (was carveout), because its module was loaded"
}

# not_a_chain FROM [REGEX] - of what the log says of changes: what is none, or does not go from where the line before
# came to. Lines of REGEX may come between.
not_a_chain() {
	local reasons="chosen by the user|because its module was loaded|because the other is removed"
	[ $# -eq 1 ] || reasons+="|because the other could not start"
	awk -v active="$1" -v reasons="$reasons" -v between="${2:-^$}" '
		$0 ~ "^policy [a-z_]+ is active \\(was " active "\\), (" reasons ")$" {
			active = $2
			next
		}
		$0 !~ between { print NR ": " $0 }'
}

# reload N FILE... - inserts and removes modules; every result is fine
reload() {
	local count=$1 file i
	shift
	for ((i = 0; i < count; i++)); do
		for file in "$@"; do
			insmod "$file"
			rmmod "$file"
		done
	done 2>/dev/null
}

# watch - reads who is active until there is a file /tmp/enough; prints how often, and how often that was not just one
watch() {
	local line reads=0 wrong=0
	until [ -e /tmp/enough ]; do
		read -r line <$engine/policy
		[ "${line//[^[]/}" = "[" ] || wrong=$((wrong + 1))
		reads=$((reads + 1))
	done
	echo "$reads $wrong"
}

# in_flight - of the trace of one switch: how many claims were in flight while the old policy's storage was drained
in_flight() {
	awk '
		$5 == "drain_begins:" { draining = 1 }
		$5 == "tagstorage_claim_start:" { begun[$1] = 1 }
		$5 == "tagstorage_claim_finish:" && $1 in begun {
			count += draining
			delete begun[$1]
		}
		$5 == "tagstorage_drain:" {
			count += length(begun)
			draining = 0
		}
		END { print count + 0 }' $tracing/trace
}

# trace_claims ON - 1: claims and draining are traced from now on, 0: no more
trace_claims() {
	local event
	[ "$1" -eq 0 ] || echo "p:drain_begins tagstorage_lend_stop" >$tracing/kprobe_events
	for event in kprobes/drain_begins tagstorage/tagstorage_{claim_start,claim_finish,drain}; do
		echo "$1" >"$tracing/events/$event/enable"
	done
	[ "$1" -eq 1 ] || echo >$tracing/kprobe_events
}

# unload_unmoved MODULE - the module of the active policy goes though pages that it lent can't be moved, as their file
# system, /mnt/scratch, is frozen: in bounded time, after the ten passes that docs/sysfs.md says. Else the test ends.
unload_unmoved() {
	local memory=../instances/memory/events/kmem/mm_page_alloc leaver event
	# Who leaves waits until it can be told from the worker, which makes passes of its own.
	mkfifo /tmp/go
	(
		read -r _ </tmp/go
		exec rmmod "$1"
	) &
	leaver=$!
	echo "p:passes drain_pass" >$tracing/kprobe_events
	echo >$tracing/trace
	# In a buffer of its own: there are many, of which the last ones tell.
	mkdir $tracing/instances/memory
	for event in kprobes/passes tagstorage/tagstorage_drain $memory; do
		echo "common_pid == $leaver" >"$tracing/events/$event/filter"
		echo 1 >"$tracing/events/$event/enable"
	done
	echo >/tmp/go
	if ! wait_for 120 ended $leaver; then
		result 1 "the policy is unloaded within two minutes"
		fsfreeze --unfreeze /mnt/scratch
		exit 1
	fi
	wait $leaver
	result $? "the policy is unloaded within two minutes"
	rm /tmp/go
	for event in kprobes/passes tagstorage/tagstorage_drain $memory; do
		echo 0 >"$tracing/events/$event/enable"
	done
	echo 0 >$tracing/events/tagstorage/tagstorage_drain/filter
	same "$(awk '
		$5 == "tagstorage_drain:" { drained++ }
		$5 == "passes:" { passes[drained + 0]++ }
		END { print drained + 0, passes[0] + 0, passes[1] + 0 }' $tracing/trace)" "1 10 0" \
		"the region is drained, after ten passes over what can't be moved"
	# Memory for what is moved: nothing else that rmmod needs is movable and may fail.
	awk '
		$5 == "mm_page_alloc:" && /migratetype=1 / && /NORETRY/ {
			moved++
			waits += /GFP_(DIRECT_RECLAIM|RECLAIM|IO|FS|NOIO|NOFS|KERNEL|USER|HIGHUSER|HIGHUSER_MOVABLE)([|]|$)/ ||
				/GFP_TRANSHUGE/
		}
		END { print moved + 0, waits + 0; exit !(moved && !waits) }' $tracing/instances/memory/trace >/tmp/moved
	result $? "memory for what was moved, and how often it could wait for it: $(cat /tmp/moved)"
	rmdir $tracing/instances/memory
	echo >$tracing/kprobe_events
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
	local block
	block=$(cat $engine/region0/block_pages)
	wait_for 120 number_is reserved_pages "$block"
	same "$(sum tagged_pages) $(sum reserved_pages)" "1 $block" "$1: tagged and reserved pages are those of the zero page"
}

# attach_tool - a tool waits for events of the engine; sets $tool
attach_tool() {
	local idle
	idle=$(cat /sys/module/tagstorage/refcnt)
	/mnt/files5/tagstorage-claimers.bt >/tmp/tool 2>&1 &
	tool=$!
	wait_for 300 eval "[ \$(cat /sys/module/tagstorage/refcnt) -gt $idle ]"
	result $? "a tool is attached"
}

# detach_tool - bpftrace 0.17 may forget a signal that comes before it waits for events
detach_tool() {
	while kill -INT "$tool"; do sleep 5; done 2>/dev/null
	wait "$tool"
}

# at_limit MIB - random operations in a cgroup of MIB MiB, which is at its limit; swap is on zram; sets $stress and $cold
#
# There is some memory in it that is read in turn, too: where all pages are hot, and many are migrated, the kernel finds
# nothing to reclaim sooner or later, and kills somebody. (So it does with compaction, while nothing is lent.)
at_limit() {
	local limited=/sys/fs/cgroup/limited
	echo 128M >/sys/block/zram0/disksize
	mkswap /dev/zram0 >/dev/null && swapon /dev/zram0
	echo "+memory" >/sys/fs/cgroup/cgroup.subtree_control
	mkdir $limited
	echo "$1M" >$limited/memory.max
	(
		echo "$BASHPID" >$limited/cgroup.procs
		exec setsid /mnt/files/anon/anonstress --ops 100000000 --seconds 100000 >/tmp/stress 2>&1
	) &
	stress=$!
	(
		echo "$BASHPID" >$limited/cgroup.procs
		exec setsid /mnt/files/anon/fill --size $(($1 + 4)) --ready /tmp/cold >/tmp/fill 2>&1
	) &
	cold=$!
	wait_for 300 test -e /tmp/cold
	wait_for 300 eval "[ \$(sed -n 's/^max //p' $limited/memory.events) -gt 10 ]"
	result $? "the cgroup is at its limit: $(sed -n 's/^max //p' $limited/memory.events) times"
}

# end_at_limit
end_at_limit() {
	local good=0
	kill "$cold"
	wait "$cold" || good=1
	result $good "what is cold in the cgroup: $(tail -n 1 /tmp/fill)"
	end_stress "$stress" "at the limit of their cgroup"
	same "$(sed -n 's/^oom_kill //p' /sys/fs/cgroup/limited/memory.events)" 0 "nobody in it was killed"
	swapoff /dev/zram0
}
