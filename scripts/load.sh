#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# scripts/load.sh POLICY | --status | --unload | --help - tag storage lending on this machine; where it is installed
# (make install), its name is tagstorage-load
#
#   POLICY     loads the engine and the policy, this project's or another's, makes it the active one, and shows memory
#              before and after; carveout needs no module but the engine, and lends nothing
#   --status   the machine, the policy, and each region as a table
#   --unload   takes back what is lent, and removes all policies and the engine
#
# Runs on the target, as root. Modules come from this checkout if they were built here for the running kernel,
# else from /lib/modules (DKMS, make modules_install); if there are none, they are built here.
#
# Environment: KDIR  folder to build against (default: /lib/modules/RELEASE/build)
#              WAIT  seconds that --unload waits for pages to come back (default: 60)
# Exit status: 0 done; 1 not possible, and why; 2 wrong usage.

set -uo pipefail

NAME=${0##*/}
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RELEASE=$(uname -r)
SYSFS=/sys/kernel/mm/tagstorage
KDIR=${KDIR:-/lib/modules/$RELEASE/build}
WAIT=${WAIT:-60}

die() {
	printf '%s: %s\n' "$NAME" "$*" >&2
	exit 1
}

misuse() {
	printf '%s: %s\n' "$NAME" "$*" >&2
	exit 2
}

usage() {
	sed -n '4,/^[^#]/{/^#\( \|$\)/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

# number FILE - the first word of a file, or 0
number() {
	local value=0
	read -r value _ 2>/dev/null <"$1"
	echo "${value:-0}"
}

# meminfo NAME - KiB
meminfo() {
	local name value rest
	while read -r name value rest; do
		if [ "$name" = "$1:" ]; then
			echo "$value"
			return
		fi
	done </proc/meminfo
	echo 0
}

# page_size - KiB
page_size() {
	local name value rest
	while read -r name value rest; do
		if [ "$name" = KernelPageSize: ]; then
			echo "$value"
			return
		fi
	done </proc/self/smaps
	echo 4
}

# regions - the folders of all regions
regions() {
	local region
	for region in "$SYSFS"/region*/; do
		[ ! -e "$region/total_pages" ] || echo "${region%/}"
	done
}

# sum FILE - over all regions
sum() {
	local region total=0
	for region in $(regions); do
		total=$((total + $(number "$region/$1")))
	done
	echo "$total"
}

# mib PAGES
mib() {
	echo $(($1 * $(page_size) / 1024))
}

# active - the policy that stands in brackets
active() {
	local text=
	[ ! -e "$SYSFS/policy" ] || text=$(<"$SYSFS/policy")
	text=${text#*[}
	echo "${text%%]*}"
}

# engine_log - what the engine said last
engine_log() {
	dmesg 2>/dev/null | grep 'tagstorage: ' | tail -n 5 | sed 's/^/    /' >&2
}

#
# What this machine must have
#

# tag_nodes - how many nodes of the device tree describe tag storage
tag_nodes() {
	local file count=0
	for file in /proc/device-tree/reserved-memory/*/compatible; do
		[ -e "$file" ] || continue
		if tr '\0' '\n' <"$file" | grep -qx 'arm,mte-tag-storage'; then
			count=$((count + 1))
		fi
	done
	echo "$count"
}

# kernel_config - the running kernel's configuration, if it can be had
kernel_config() {
	local file
	if [ -e /proc/config.gz ]; then
		gzip -dc /proc/config.gz
		return
	fi
	for file in "/boot/config-$RELEASE" "/lib/modules/$RELEASE/config" "$KDIR/.config"; do
		if [ -r "$file" ]; then
			cat "$file"
			return
		fi
	done
}

# kernel_has_hooks - by its configuration or, where that is unknown, by its symbols
kernel_has_hooks() {
	kernel_config | grep -x 'CONFIG_ARM64_MTE_TAG_STORAGE=y' >/dev/null ||
		grep -w tag_storage_register /proc/kallsyms >/dev/null 2>&1
}

has_mte() {
	grep '^Features' /proc/cpuinfo | grep -qw mte
}

need_root() {
	[ "$(id -u)" -eq 0 ] || die "only root can do this: run it with sudo"
}

check_machine() {
	[ "$(uname -m)" = aarch64 ] ||
		die "this machine is $(uname -m), and tag storage exists on arm64 only: run it on the board, or try ./lab/demo here"
	has_mte ||
		die "no mte among the Features in /proc/cpuinfo: the CPU has no MTE, the firmware keeps it off, or the kernel was booted with arm64.nomte"
	kernel_has_hooks ||
		die "kernel $RELEASE lacks CONFIG_ARM64_MTE_TAG_STORAGE: apply core-hooks.patch to its source, enable that option, and boot the result (docs/board.md)"
	[ "$(tag_nodes)" -gt 0 ] ||
		die "the device tree has no tag storage: add a node compatible with \"arm,mte-tag-storage\" below /reserved-memory (docs/board.md)"
}

#
# Modules
#

# own_module NAME - its path in this checkout, if it was built here for the running kernel
own_module() {
	local file=$TOP/$1.ko magic
	[ -e "$file" ] || return 1
	magic=$(modinfo -F vermagic "$file" 2>/dev/null)
	[ "${magic%% *}" = "$RELEASE" ] && echo "$file"
}

# have_module NAME - here, installed, or loaded
have_module() {
	[ -e "/sys/module/$1" ] || own_module "$1" >/dev/null || modinfo -k "$RELEASE" "$1" >/dev/null 2>&1
}

# policy_module NAME - the module of a policy: this project's, or whichever has its alias
policy_module() {
	local module
	if have_module "tagstorage_$1"; then
		echo "tagstorage_$1"
		return
	fi
	module=$(modprobe -R "tagstorage-policy-$1" 2>/dev/null | head -n 1)
	[ -n "$module" ] && echo "$module"
}

# registered NAME - the engine has this policy already
registered() {
	local names=
	[ ! -e "$SYSFS/policy" ] || names=$(tr -d '[]' <"$SYSFS/policy")
	[[ " $names " == *" $1 "* ]]
}

# policies - the names that can be chosen, one after the other on one line
policies() {
	local file name names=" carveout "
	for name in $(
		for file in "$TOP"/tagstorage_*.ko; do
			[ ! -e "$file" ] || basename "${file##*/tagstorage_}" .ko
		done
		sed -n 's/^alias tagstorage-policy-\([^ ]*\) .*/\1/p' "/lib/modules/$RELEASE/modules.alias" 2>/dev/null | sort
		tr -d '[]' 2>/dev/null <"$SYSFS/policy"
	); do
		[[ $names == *" $name "* ]] || names+="$name "
	done
	names=${names# }
	echo "${names% }"
}

build_modules() {
	[ -e "$TOP/Kbuild" ] ||
		die "the modules are not installed for kernel $RELEASE: install them with DKMS, or with make install in the source folder (docs/board.md)"
	[ -d "$KDIR" ] ||
		die "there is no kernel to build against at $KDIR: install linux-headers-$RELEASE or, for a kernel of your own, set KDIR to the folder that it was built in"
	command -v make >/dev/null || die "the modules are not built, and make is not installed: install the packages make and gcc"
	echo "building the modules for $RELEASE"
	make -s -C "$TOP" KDIR="$KDIR" >&2 || die "the modules could not be built: see the messages above"
}

# parameters NAME - those that the kernel's command line has for a module: what modprobe does, and insmod does not
parameters() {
	local word
	for word in $(</proc/cmdline); do
		[ "${word%%.*}" != "$1" ] || echo "${word#*.}"
	done
}

# load_module NAME
load_module() {
	local file message
	[ ! -e "/sys/module/$1" ] || return 0
	if file=$(own_module "$1"); then
		# shellcheck disable=SC2046 # one word for each parameter
		message=$(insmod "$file" $(parameters "$1") 2>&1) && return 0
	else
		message=$(modprobe "$1" 2>&1) && return 0
	fi
	printf '%s: %s could not be loaded: %s\n' "$NAME" "$1" "$message" >&2
	case $message in
	*[Kk]ey*) echo "$NAME: this kernel loads signed modules only: sign it (make sign), or enroll the key that DKMS signs with" >&2 ;;
	*) engine_log ;;
	esac
	exit 1
}

#
# The three commands
#

load_policy() {
	local policy=$1 module="" total available
	check_machine
	have_module tagstorage || build_modules
	if [ "$policy" != carveout ] && ! registered "$policy" && ! module=$(policy_module "$policy"); then
		die "there is no policy $policy: choose one of $(policies)"
	fi
	total=$(meminfo MemTotal)
	available=$(meminfo MemAvailable)
	load_module tagstorage
	[ -z "$module" ] || load_module "$module"
	if ! (echo "$policy" >"$SYSFS/policy") 2>/dev/null; then
		echo "$NAME: policy $policy could not be activated, $(active) is active. The engine says:" >&2
		engine_log
		exit 1
	fi
	[ "$(active)" = "$policy" ] || die "policy $(active) is active instead of $policy: somebody else switched it"
	printf '%-14s %10s %10s\n' MiB before after
	printf '%-14s %10d %10d\n' MemTotal $((total / 1024)) $(($(meminfo MemTotal) / 1024))
	printf '%-14s %10d %10d\n' MemAvailable $((available / 1024)) $(($(meminfo MemAvailable) / 1024))
	echo
	show_status
}

show_machine() {
	local hooks=no mte=no
	! kernel_has_hooks || hooks=yes
	! has_mte || mte=yes
	printf 'machine  %s, kernel %s; hooks: %s; MTE: %s; tag storage in the device tree: %s regions\n' \
		"$(uname -m)" "$RELEASE" "$hooks" "$mte" "$(tag_nodes)"
}

show_regions() {
	local region name
	printf '%-6s %-26s %9s %9s %9s %9s %9s\n' region 'pages of' total reserved lent free tagged
	for region in $(regions); do
		name=$(<"$region/name")
		printf '%-6s %-26s %9d %9d %9d %9d %9d\n' "${region##*/region}" "$name" \
			"$(number "$region/total_pages")" "$(number "$region/reserved_pages")" \
			"$(number "$region/lent_pages")" "$(number "$region/free_pages")" \
			"$(number "$region/tagged_pages")"
	done
}

show_status() {
	local lent total
	show_machine
	if [ ! -e "$SYSFS/policy" ]; then
		echo "engine   not loaded: tag storage is a static carve-out (load a policy with $0 cma)"
		return
	fi
	lent=$(sum lent_pages)
	total=$(sum total_pages)
	printf 'engine   %s; policy: %s; state: %s\n' "$(cat /sys/module/tagstorage/version 2>/dev/null)" \
		"$(<"$SYSFS/policy")" "$(<"$SYSFS/state")"
	printf 'changed  %s (number, reason, from, to, error, seconds since boot)\n' "$(<"$SYSFS/last_change")"
	printf 'memory   MemTotal %d MiB, MemAvailable %d MiB; lent: %d MiB of %d MiB\n' \
		$(($(meminfo MemTotal) / 1024)) $(($(meminfo MemAvailable) / 1024)) "$(mib "$lent")" "$(mib "$total")"
	printf 'claims   %d free, %d migrated, %d failed\n\n' \
		"$(sum claims_free)" "$(sum claims_migrated)" "$(sum claims_failed)"
	show_regions
}

# tracers - processes that hold tracing events open
tracers() {
	local link pid seen=" "
	for link in /proc/[0-9]*/fd/*; do
		case $(readlink "$link" 2>/dev/null) in
		*perf_event* | *bpf-*)
			pid=${link#/proc/}
			pid=${pid%%/*}
			case $seen in
			*" $pid "*) ;;
			*)
				seen+="$pid "
				echo "$pid ($(cat "/proc/$pid/comm" 2>/dev/null))"
				;;
			esac
			;;
		esac
	done
}

# drain - until nothing is lent any more, or WAIT is over
drain() {
	local lent deadline=$((SECONDS + WAIT)) last=-1
	echo carveout >"$SYSFS/policy" || die "the policy could not be switched to carveout"
	while [ "$(<"$SYSFS/state")" != carveout ]; do
		lent=$(sum lent_pages)
		if [ "$lent" -ne "$last" ]; then
			echo "draining: $lent pages ($(mib "$lent") MiB) are still in use"
			sed 's/^/  /' "$SYSFS/holders"
			last=$lent
		fi
		if [ "$SECONDS" -ge "$deadline" ]; then
			die "$lent pages of tag storage are still held after $WAIT s, by I/O in flight or by processes that pin memory. No new ones are lent, and the engine goes on taking them back: run this again later, or end those processes first"
		fi
		sleep 1
	done
}

unload() {
	local module message users
	if [ ! -e /sys/module/tagstorage ]; then
		echo "the engine is not loaded: nothing to do"
		return
	fi
	[ ! -e "$SYSFS/policy" ] || drain
	for module in /sys/module/tagstorage/holders/*; do
		[ -e "$module" ] || continue
		module=${module##*/}
		message=$(rmmod "$module" 2>&1) || die "$module could not be removed: $message"
	done
	if ! message=$(rmmod tagstorage 2>&1); then
		users=$(tracers)
		users=${users//$'\n'/, }
		[ -z "$users" ] || message+=". These processes trace events: $users; end them and run this again"
		die "the engine could not be removed: $message"
	fi
	echo "unloaded: tag storage is a static carve-out again, MemTotal is $(($(meminfo MemTotal) / 1024)) MiB"
}

[ $# -gt 0 ] || misuse "say which policy to load, or --status, --unload, --help"
[ $# -eq 1 ] || misuse "one argument is enough; see --help"
case $WAIT in
'' | *[!0-9]*) misuse "WAIT=$WAIT is not a number of seconds" ;;
esac
case $1 in
-h | --help) usage ;;
--status) show_status ;;
--unload)
	need_root
	unload
	;;
-*) misuse "there is no option $1; see --help" ;;
*[!a-zA-Z0-9_]* | '') misuse "'$1' is no name of a policy: letters, digits and _ only" ;;
*)
	need_root
	load_policy "$1"
	;;
esac
