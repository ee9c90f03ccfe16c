# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# engine/guest.sh - in the guest: what the tests of the engine's interface share. Sourced by their scripts.
#
# Expects the test programs at /mnt/files. With --policy none, the modules are expected at /mnt/files2.
# Sets: $status, the exit status of the test; $engine, the engine's folder in sysfs

status=0
engine=/sys/kernel/mm/tagstorage
# For nap(): nobody ever writes to it.
exec {never}<> <(:)
if [ -d /mnt/files2 ] && [ -z "$(ls /usr/lib/modules)" ]; then
	mount --bind /mnt/files2 /usr/lib/modules
fi

# result GOOD WHAT - one line for lab/test; GOOD: a number, 0 is good
result() {
	if [ "$1" -eq 0 ]; then
		echo "ok - $2"
	else
		echo "not ok - $2"
		status=1
	fi
}

# same IS SHOULD WHAT
same() {
	local differ=0
	[ "$1" = "$2" ] || differ=1
	result $differ "$3$([ $differ -eq 0 ] || echo ": '$1', '$2' expected")"
}

# works WHAT COMMAND... - the command succeeds
works() {
	local what=$1 output good=0
	shift
	output=$("$@" 2>&1) || good=1
	result $good "$what${output:+: $output}"
}

# fails REGEX WHAT COMMAND... - the command fails, and says this
fails() {
	local regex=$1 what=$2 output good=1
	shift 2
	if output=$("$@" 2>&1); then
		output="it succeeded; $output"
	elif grep -qE -- "$regex" <<<"$output"; then
		good=0
	fi
	result $good "$what: $output"
}

# log REGEX WHAT - the engine said this since the last call
log() {
	local good=1
	dmesg | sed '/^.*tagstorage-test-mark/d' >/tmp/log.now
	tail -n +$(($(cat /tmp/log.lines 2>/dev/null || echo 0) + 1)) /tmp/log.now | grep -E 'tagstorage: ' >/tmp/log.new
	wc -l </tmp/log.now >/tmp/log.lines
	! grep -qE -- "$1" /tmp/log.new || good=0
	[ $good -eq 0 ] || cat /tmp/log.new
	result $good "$2"
}

# nap SECONDS - as sleep, but without a process: to make one may take longer than that, and may reclaim memory
nap() {
	read -rt "$1" -u "$never" || :
}

# sum NAME - of a file of all regions
sum() {
	local file number total=0
	for file in "$engine"/region*/"$1"; do
		read -r number <"$file"
		total=$((total + number))
	done
	echo $total
}

memtotal() {
	sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo
}

# set_policy NAME
set_policy() {
	echo "$1" >$engine/policy
}

# as_check_dt SCRIPT WHAT - the script check-dt.sh names the policies that can be active; carveout is afterwards
as_check_dt() {
	local policy offered="" named=""
	"$1" >/tmp/check-dt
	for policy in cma metadata movable node; do
		set_policy carveout
		! set_policy $policy 2>/dev/null || offered+=" $policy"
		! grep -qE ": for polic(y|ies) ([a-z]+ and )?$policy\>" /tmp/check-dt || named+=" $policy"
	done
	set_policy carveout
	same "$named" "$offered" "check-dt.sh names the policies for $2:$offered"
}

# wait_for SECONDS COMMAND... - until the command succeeds
wait_for() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		nap 0.1
	done
}

# hold_task NAME COMMAND... - from now on hold_reclaim.ko holds the task NAME, which the command wakes; true if it has
# done so within a minute, false also when the file /tmp/done is there. Nothing forks meanwhile: a process that is made
# may reclaim memory, and then nobody else does.
hold_task() {
	local parameters=/sys/module/hold_reclaim/parameters held=0 i
	printf '%s' "$1" >"$parameters/name"
	"${@:2}"
	nap 2
	for ((i = 0; i < 600; i++)); do
		read -r held <"$parameters/held"
		if [ "$held" -ne 0 ] || [ -e /tmp/done ]; then
			break
		fi
		nap 0.1
	done
	[ "$held" -eq 1 ]
}

# release_task - whom hold_reclaim.ko holds goes on
release_task() {
	printf -- - >/sys/module/hold_reclaim/parameters/name
}

# number_is NAME NUMBER - a sum has this value
number_is() {
	[ "$(sum "$1")" -eq "$2" ]
}

# settle - until the worker has lent all that is idle
settle() {
	local last=-1 now
	for _ in {1..50}; do
		now=$(sum lent_pages)/$(sum reserved_pages)
		[ "$now" != "$last" ] || return 0
		last=$now
		nap 0.5
	done
	return 1
}

# audit WHAT - the engine's own look at every page and block
audit() {
	local good=0 text
	# Once: what it says while memory is used may be another thing the next time. Not to a file: memory may be full.
	text=$(</sys/kernel/debug/tagstorage/audit)
	[ "${text##*$'\n'}" = "audit: clean" ] || good=1
	[ $good -eq 0 ] || echo "$text"
	result $good "audit is clean: $1"
}

# end_stress PID WHAT - random operations in the background (anonstress, what it says is in /tmp/stress) come to their
# end and verify everything once more. No worker may have ended before, whatever the reason: that is only said now.
end_stress() {
	local good=0
	kill -TERM "$1"
	wait "$1" || good=1
	! grep -vxE 'anonstress: (--seed [0-9]+|[0-9]+ operations, .*: all right)' /tmp/stress || good=1
	grep -qxE 'anonstress: [1-9][0-9]* operations, [1-9][0-9]* tags verified, .*: all right' /tmp/stress || good=1
	result $good "random operations went on, and found nothing wrong, $2: $(tail -n 1 /tmp/stress)"
}

# hold NAME ARGUMENT... - a program that holds tagged memory in the background; ended by end_hold
hold() {
	local name=$1
	shift
	rm -f "/tmp/ready.$name"
	/mnt/files/engine/tagged "$@" --ready "/tmp/ready.$name" >"/tmp/held.$name" 2>&1 &
	echo $! >"/tmp/pid.$name"
	if ! wait_for 120 test -e "/tmp/ready.$name"; then
		cat "/tmp/held.$name"
		result 1 "$name holds tagged memory"
	fi
}

# end_hold NAME - it verifies its data and tags
end_hold() {
	local good=0
	kill "$(cat "/tmp/pid.$1")"
	wait "$(cat "/tmp/pid.$1")" || good=1
	result $good "$1: $(tail -n 1 "/tmp/held.$1")"
}

# used MIB - how many pages on tag storage an untagged program of this size has
used() {
	rm -f /tmp/used
	/mnt/files/anon/fill --size "$1" --ready /tmp/used >/tmp/fill &
	wait_for 60 test -e /tmp/used
	kill $!
	wait $!
	sed -n 's/.* filled, \([0-9]*\) pages .*/\1/p' /tmp/fill
}

# keep TOOL... - these programs and their libraries stay in memory from now on, until end_keep
keep() {
	local tool files=()
	for tool in "$@"; do
		tool=$(command -v "$tool")
		# shellcheck disable=SC2207 # words
		files+=("$tool" $(LD_TRACE_LOADED_OBJECTS=1 "$tool" | grep -o "/[^ ]*"))
	done
	/mnt/files/engine/keep /tmp/kept "${files[@]}" &
	keeper=$!
	wait_for 60 test -e /tmp/kept
	result $? "the programs that this test needs stay in memory: ${#files[@]} files"
}

# end_keep
end_keep() {
	kill "$keeper"
	wait "$keeper"
}
