# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# trace/guest.sh - in the guest: runs a tool while an exact number of claims happens. Sourced by the tests' scripts.
#
# Expects the test programs at /mnt/files, scripts/ at /mnt/files2.
# Sets: $free $migrated $failed $pages $reserved (by how much the engine's counters grew while the tool was attached),
#       $output (file with what the tool printed), $claimer (process id), $status (of the test, for its end)

status=0
output=/tmp/output

# result GOOD WHAT - one line for lab/test; GOOD: a number, 0 is good
result() {
	if [ "$1" -eq 0 ]; then
		echo "ok - $2"
	else
		echo "not ok - $2"
		status=1
	fi
}

# same NUMBER NUMBER WHAT
same() {
	local differ=0
	[ "${1:-none}" = "$2" ] || differ=1
	result $differ "$3: ${1:-none}, $2 expected"
}

# wait_for SECONDS COMMAND... - until the command succeeds
wait_for() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.2
	done
}

# attached - every probe of the tool holds the engine
attached() {
	[ "$(cat /sys/module/tagstorage/refcnt)" -eq $((idle + probes)) ]
}

# start_tool NAME - until it is attached
start_tool() {
	idle=$(cat /sys/module/tagstorage/refcnt)
	probes=$(grep -c '^tracepoint:' "/mnt/files2/$1")
	BPFTRACE_PERF_RB_PAGES=1024 "/mnt/files2/$1" >$output 2>/tmp/errors &
	tool=$!
	if ! wait_for 120 attached; then
		cat $output /tmp/errors
		echo "not ok - $1 could not be attached"
		exit 1
	fi
}

# ended - has the tool gone?
ended() {
	! kill -0 "$tool" 2>/dev/null
}

# stop_tool - as Ctrl-C does
#
# bpftrace 0.17 may forget a signal that comes while it does not wait for events, unless one more event follows. It
# gets another signal then, but not at once: the second one ends the printing of its maps.
stop_tool() {
	sleep 1
	for _ in 1 2 3; do
		kill -INT "$tool"
		wait_for 20 ended && break
	done
	if ! ended; then
		echo "not ok - the tool does not end: killed"
		kill -KILL "$tool"
	fi
	wait "$tool"
	result $? "the tool ends well"
	cat $output
	result "$(grep -c . /tmp/errors)" "no error messages, no lost events"
	cat /tmp/errors
}

# claim N - a program's tagged pages claim so many blocks
claim() {
	/mnt/files/trace/claims "$1" >/tmp/claims &
	claimer=$!
	wait_for 300 grep -q '^claims:' /tmp/claims || echo "not ok - $1 blocks could not be claimed"
	read -r _ _ free _ migrated _ failed _ pages _ reserved </tmp/claims
	cat /tmp/claims
}

# fill - lent storage is full of verified data from now on
#
# Nobody but the test's program is to claim: compaction does, for tagged pages that it moves. What is left free is for
# the tool: bpftrace and what it reads.
fill() {
	echo 0 >/proc/sys/vm/compaction_proactiveness
	/mnt/files/anon/fill --leave 192 --ready /tmp/full >/tmp/fill &
	filler=$!
	wait_for 300 test -e /tmp/full
	result $? "memory is full"
}

# end_fill - and it still is what it was
end_fill() {
	kill "$filler"
	wait "$filler"
	result $? "what lay in lent storage is intact"
	cat /tmp/fill
}
