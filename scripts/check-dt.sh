#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# scripts/check-dt.sh [--page-size BYTES] [FILE.dtb | FOLDER] - is tag storage described well in a device tree?
#
# Without an argument the tree of the running machine (/proc/device-tree); FOLDER has the same form. Prints one line for
# each region: what it is and which policies can lend it, or what is wrong with it, in the words of the engine
# (tagstorage.ko) and of the policies, which judge the same. What no tree says, only they find: storage on the kernel's
# image, in the place of a device, in two zones, in use by somebody else, or outside the linear map. Where it is installed
# (make install), the name is tagstorage-check-dt.
#
#   --page-size BYTES   of the kernel (default: this machine's, 4096 for a file)
#
# Exit status: 0 there are regions, and policies for all of them; 1 not so; 2 wrong usage.

set -uo pipefail

NAME=${0##*/}
COMPATIBLE=arm,mte-tag-storage
MAX_REGIONS=32		# as in the engine
MAX_BLOCK_PAGES=64
# All that is looked at; the rest of a tree is not read.
PROPERTIES='compatible device_type status reg ranges #address-cells #size-cells phandle linux,phandle
	linux,usable-memory block-size tagged-memory no-map numa-node-id distance-matrix'

# prop["PATH:NAME"] - value of a property, as hexadecimal digits; nodes - the paths that have any
declare -A prop
nodes=()

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

#
# Reading a tree: each reader prints "PATH NAME VALUE", the value as hexadecimal digits
#

# read_folder FOLDER - a tree as the kernel shows it
read_folder() {
	local file path name names=()
	for name in $PROPERTIES; do
		names+=(-o -name "$name")
	done
	find -L "$1" -type f \( "${names[@]:1}" \) -print 2>/dev/null | while IFS= read -r file; do
		path=${file#"$1"}
		path=${path%/*}
		printf '%s %s %s\n' "${path:-/}" "${file##*/}" "$(od -An -v -tx1 "$file" | tr -d ' \n')"
	done
}

# read_blob FILE - a flattened tree
read_blob() {
	od -An -v -tx1 -w4 "$1" | awk -v wanted="$PROPERTIES" '
		function number(digits,    i, n) {
			for (i = 1; i <= length(digits); i++)
				n = n * 16 + index("0123456789abcdef", substr(digits, i, 1)) - 1
			return n
		}
		# the string that begins at a byte
		function string(at,    text, byte) {
			for (;; at++) {
				byte = substr(word[int(at / 4)], at % 4 * 2 + 1, 2)
				if (byte == "00" || byte == "")
					return text
				text = text sprintf("%c", number(byte))
			}
		}
		function value(at, bytes,    text) {
			for (; length(text) < bytes * 2; at++)
				text = text word[at]
			return substr(text, 1, bytes * 2)
		}
		BEGIN {
			count = split(wanted, list)
			for (i = 1; i <= count; i++)
				keep[list[i]] = 1
		}
		{
			gsub(" ", "")
			word[NR - 1] = $0
		}
		END {
			if (word[0] != "d00dfeed")
				exit 1
			strings = number(word[3])
			at = number(word[2]) / 4
			depth = 0
			while (at < NR && word[at] != "00000009") {
				token = word[at++]
				if (token == "00000001") {
					name = string(at * 4)
					at += int(length(name) / 4) + 1
					path[++depth] = depth == 1 ? "" : path[depth - 1] "/" name
				} else if (token == "00000002") {
					depth--
				} else if (token == "00000003") {
					bytes = number(word[at])
					name = string(strings + number(word[at + 1]))
					if (name in keep)
						print (path[depth] == "" ? "/" : path[depth]), name, value(at + 2, bytes)
					at += 2 + int((bytes + 3) / 4)
				}
			}
		}'
}

# read_tree SOURCE - fills prop and nodes
read_tree() {
	local lines path name value last=
	if [ -d "$1" ]; then
		lines=$(read_folder "${1%/}")
	else
		lines=$(read_blob "$1") || die "$1 is no device tree blob: give a .dtb, or a folder such as /proc/device-tree"
	fi
	while read -r path name value; do
		[ "$path" = "$last" ] || nodes+=("$path")
		last=$path
		prop["$path:$name"]=$value
	done <<<"$lines"
	[ -n "$last" ] || die "there is no device tree at $1"
}

#
# Properties
#

# has PATH NAME
has() {
	[ -n "${prop["$1:$2"]+there}" ]
}

# text PATH NAME - of strings the first
text() {
	local digits=${prop["$1:$2"]:-} out=
	while [ -n "$digits" ] && [ "${digits:0:2}" != 00 ]; do
		out+="\\x${digits:0:2}"
		digits=${digits:2}
	done
	printf '%b' "$out"
}

# parent PATH
parent() {
	local path=${1%/*}
	echo "${path:-/}"
}

# cells PATH NAME - as the nodes below it count: what the next node above says, else 1
cells() {
	local path=$1
	while :; do
		if has "$path" "$2" && [ ${#prop["$path:$2"]} -eq 8 ]; then
			echo $((16#${prop["$path:$2"]}))
			return
		fi
		[ "$path" != / ] || break
		path=$(parent "$path")
	done
	echo 1
}

# available PATH - its status is none, or okay
available() {
	local status
	has "$1" status || return 0
	status=$(text "$1" status)
	[ "$status" = okay ] || [ "$status" = ok ]
}

# is_region PATH - one of its compatible strings is ours
is_region() {
	local digits=${prop["$1:compatible"]:-}
	[[ 00$digits == *00$ours* ]] || return
	# at the start of a byte, and of a string
	while [ -n "$digits" ]; do
		[[ $digits != "$ours"* ]] || return 0
		while [ -n "$digits" ] && [ "${digits:0:2}" != 00 ]; do
			digits=${digits:2}
		done
		digits=${digits:2}
	done
	return 1
}

# below A B - A < B as numbers without a sign, which those of bash have
below() {
	((($1 ^ 1 << 63) < ($2 ^ 1 << 63)))
}

# meet A A_SIZE B B_SIZE - do two ranges share anything? Those that could not be read have no size.
meet() {
	[ "$2" -ne 0 ] && [ "$4" -ne 0 ] && below "$1" $(($3 + $4)) && below "$3" $(($1 + $2))
}

# number DIGITS - the last 64 bits
number() {
	local digits=${1: -16}
	echo $((16#${digits:-$1}))
}

# translate PATH ADDRESS - of a child of PATH, to the root's: prints it, or fails where a node has no ranges for it
translate() {
	local path=$1 address=$2 up na ns pna digits entry child size
	while [ "$path" != / ]; do
		up=$(parent "$path")
		has "$path" ranges || return
		digits=${prop["$path:ranges"]}
		na=$(cells "$path" '#address-cells') ns=$(cells "$path" '#size-cells') pna=$(cells "$up" '#address-cells')
		entry=$(((na + pna + ns) * 8))
		[ -z "$digits" ] || while :; do
			[ ${#digits} -ge "$entry" ] || return
			child=$(number "${digits:0:na * 8}")
			size=$(number "${digits:(na + pna) * 8:ns * 8}")
			if ! below "$address" "$child" && below $((address - child)) "$size"; then
				address=$((address - child + $(number "${digits:na * 8:pna * 8}")))
				break
			fi
			digits=${digits:entry}
		done
		path=$up
	done
	echo "$address"
}

# range PATH INDEX - an entry of its reg: sets start and size; fails where that is no address
range() {
	local up na ns digits entry
	up=$(parent "$1")
	na=$(cells "$up" '#address-cells') ns=$(cells "$up" '#size-cells')
	entry=$(((na + ns) * 8))
	digits=${prop["$1:reg"]:-}
	digits=${digits:$2 * entry:entry}
	start=0 size=0
	[ "$na" -gt 0 ] && [ "$na" -le 4 ] && [ "$ns" -gt 0 ] && [ ${#digits} -eq "$entry" ] || return
	start=$(translate "$up" "$(number "${digits:0:na * 8}")") || { start=0; return 1; }
	size=$(number "${digits:na * 8}")
	if [ "$size" -ne 0 ] && below $((start + size - 1)) "$start"; then
		start=0 size=0
		return 1
	fi
}

# read_range PATH - the first range of its reg, which should be the only one: sets start, size and fault
read_range() {
	local up length pair
	start=0 size=0 fault=
	length=${prop["$1:reg"]:-}
	length=${#length}
	up=$(parent "$1")
	pair=$((($(cells "$up" '#address-cells') + $(cells "$up" '#size-cells')) * 8))
	if [ "$length" -eq 0 ] || [ $((length % 8)) -ne 0 ]; then
		fault=missing
	elif [ "$pair" -le 0 ] || [ $((length % pair)) -ne 0 ]; then
		fault=cells
	elif ! range "$1" 0; then
		fault=nowhere
	elif [ "$length" -ne "$pair" ]; then
		fault=several
	fi
}

#
# The regions: why["PATH"] - what is wrong, empty if nothing; of both ranges and the block what could be read, else 0
#

declare -A why storage storage_size data data_size block
regions=()

declare -A STORAGE_FAULTS=(
	[missing]="has no reg: it must say where the tag storage is"
	[cells]="has a reg that does not fit its parent's cells: correct one of them"
	[nowhere]="has a reg that is no address: it overflows, or a parent lacks ranges"
	[several]="has several ranges in its reg: make each a region of its own"
)
declare -A MEMORY_FAULTS=(
	[missing]="covers a memory node without reg: it must say where the memory is"
	[cells]="covers a memory node whose reg does not fit its parent's cells: correct one"
	[nowhere]="covers a memory node whose reg is no address: does it overflow?"
	[several]="covers a memory node of several ranges: make each a node, and a region"
)

# by_phandle DIGITS - the node that has it
by_phandle() {
	local path
	for path in "${nodes[@]}"; do
		if [ "${prop["$path:phandle"]:-${prop["$path:linux,phandle"]:-}}" = "$1" ]; then
			echo "$path"
			return
		fi
	done
	return 1
}

# read_memory PATH - its data; sets fault to a sentence
read_memory() {
	local digits=${prop["$1:tagged-memory"]:-} memory
	if [ ${#digits} -ge 16 ]; then
		fault="has several nodes in tagged-memory: make each a region of its own"
	elif [ ${#digits} -lt 8 ] || ! memory=$(by_phandle "$digits"); then
		fault="has no tagged-memory that leads to a node: give the memory node"
	elif [ "$(text "$memory" device_type)" != memory ]; then
		fault="covers what is no memory node: give the one of the memory"
	elif ! available "$memory"; then
		fault="covers a memory node that is disabled: change one of them"
	else
		read_range "$memory"
		data[$1]=$start data_size[$1]=$size
		fault=${fault:+${MEMORY_FAULTS[$fault]}}
	fi
}

# read_region PATH - reads on after a fault: what is known of a bad node may contradict another
read_region() {
	local start size fault first
	storage[$1]=0 storage_size[$1]=0 data[$1]=0 data_size[$1]=0 block[$1]=0
	if ! available "$1"; then
		why[$1]="is disabled, so the kernel does not reserve its storage: enable it"
		return
	fi
	read_range "$1"
	storage[$1]=$start storage_size[$1]=$size
	first=${fault:+${STORAGE_FAULTS[$fault]}}
	read_memory "$1"
	first=${first:-$fault}
	if [ "${prop["$1:block-size"]+${#prop["$1:block-size"]}}" = 8 ]; then
		block[$1]=$((16#${prop["$1:block-size"]}))
	else
		first=${first:-has no block-size of one cell: give the hardware\'s, in bytes}
	fi
	if has "$1" no-map; then
		first="is no-map, and nothing can be lent without a linear map: remove no-map"
	fi
	why[$1]=$first
}

#
# Judging a region that could be read: each prints what is wrong, and nothing if all is well
#

# rounded BLOCK - the least common multiple of it and the page size
rounded() {
	local a=$PAGE_SIZE b=$1 rest
	while [ "$b" -ne 0 ]; do
		rest=$((a % b)) a=$b b=$rest
	done
	echo $((PAGE_SIZE * $1 / a))
}

check_geometry() {
	local s=${storage[$1]} s_size=${storage_size[$1]} d=${data[$1]} d_size=${data_size[$1]} b=${block[$1]}
	if [ "$s_size" -eq 0 ]; then
		echo "has tag storage of size zero: correct its reg"
	elif [ "$d_size" -eq 0 ]; then
		echo "covers memory of size zero: correct its reg"
	elif below $((s + s_size)) "$s" || below $((d + d_size)) "$d"; then
		echo "wraps around the end of the address space: correct reg"
	elif [ "$b" -eq 0 ]; then
		echo "has a block-size of zero: give the hardware's, in bytes"
	elif [ "$b" -gt $((MAX_BLOCK_PAGES * PAGE_SIZE)) ]; then
		echo "has a block-size that is too large: give the hardware's, in bytes"
	elif [ "$(rounded "$b")" -gt $((MAX_BLOCK_PAGES * PAGE_SIZE)) ]; then
		echo "has a block-size that does not suit the page size: correct one"
	elif [ $((s & (PAGE_SIZE - 1))) -ne 0 ]; then
		echo "does not start at a page boundary: correct its reg"
	elif [ $((d & (PAGE_SIZE - 1))) -ne 0 ]; then
		echo "covers memory that does not start at a page boundary: correct its reg"
	elif [ $((d_size & 31)) -ne 0 ] || [ $((d_size >> 5 & ~(31 << 59))) -ne "$s_size" ]; then
		echo "is not 1/32 of the memory that it covers: correct one reg"
	elif [ $((s_size % $(rounded "$b"))) -ne 0 ]; then
		echo "is not a whole number of blocks: correct reg or block-size"
	elif meet "$s" "$s_size" "$d" "$d_size"; then
		echo "covers itself: correct one reg"
	fi
}

# check_others PATH - no other node may contradict this one
check_others() {
	local other s=${storage[$1]} s_size=${storage_size[$1]}
	for other in "${regions[@]}"; do
		[ "$other" != "$1" ] || continue
		if meet "$s" "$s_size" "${storage[$other]}" "${storage_size[$other]}"; then
			echo "shares tag storage with $other: correct one of them"
		elif meet "${data[$1]}" "${data_size[$1]}" "${data[$other]}" "${data_size[$other]}"; then
			echo "shares the memory that it covers with $other: correct one of them"
		elif meet "$s" "$s_size" "${data[$other]}" "${data_size[$other]}"; then
			echo "lies in the memory that is covered by $other: correct one of them"
		else
			continue
		fi
		return
	done
}

# kernel_reserves PATH - right below /reserved-memory, with the root's cells, or the kernel does not look at it
kernel_reserves() {
	local name
	[ "$(parent "$1")" = /reserved-memory ] || return
	for name in '#address-cells' '#size-cells'; do
		[ "$(cells /reserved-memory "$name")" -eq "$(cells / "$name")" ] || return
	done
}

# check_reserved PATH - for this node, and for nobody else
check_reserved() {
	local path i start size
	if ! kernel_reserves "$1"; then
		echo "was not reserved at boot: move the node to /reserved-memory"
		return
	fi
	for path in "${nodes[@]}"; do
		[[ $path == /reserved-memory/* && $(parent "$path") == /reserved-memory ]] || continue
		if ! has "$path" reg || ! available "$path" || is_region "$path"; then
			continue
		fi
		for ((i = 0; ; i++)); do
			range "$path" $i || break
			if meet "${storage[$1]}" "${storage_size[$1]}" "$start" "$size"; then
				echo "lies in memory that is reserved for $path: correct one of them"
				return
			fi
		done
	done
}

# in_memory START SIZE - how much of a range is in memory nodes: all, part or none
in_memory() {
	local at=$1 end=$(($1 + $2)) i any=none moved=yes
	while [ "$moved" = yes ] && below "$at" "$end"; do
		moved=no
		for i in "${!ram[@]}"; do
			meet "$1" "$2" "${ram[i]}" "${ram_size[i]}" || continue
			any=part
			if ! below "$at" "${ram[i]}" && below "$at" $((ram[i] + ram_size[i])); then
				at=$((ram[i] + ram_size[i]))
				moved=yes
			fi
		done
	done
	below "$at" "$end" || any=all
	echo "$any"
}

check_storage() {
	if [ "$(in_memory "${storage[$1]}" "${storage_size[$1]}")" = part ]; then
		echo "has storage partly in System RAM: give memory nodes all of it, or nothing"
	fi
}

# check_data PATH - the kernel knows each section that has any memory in it
check_data() {
	local at=${data[$1]} end=$((data[$1] + data_size[$1])) step section
	section=$((PAGE_SIZE > 16384 ? 512 << 20 : 128 << 20))
	if [ "$(in_memory "$at" "${data_size[$1]}")" != none ]; then
		for ((at -= at & (section - 1); ; at += section)); do
			below "$at" "$end" || return
			step=$(in_memory "$at" $section)
			[ "$step" != none ] || break
		done
	fi
	echo "covers memory that is not System RAM: correct reg of its tagged-memory node"
}

judge() {
	local check
	for check in check_geometry check_others check_reserved check_storage check_data; do
		[ -n "${why[$1]}" ] || why[$1]=$($check "$1")
	done
}

# collect - all regions, and ram: what the kernel takes as memory
collect() {
	local path i start size
	ram=() ram_size=()
	for path in "${nodes[@]}"; do
		if is_region "$path"; then
			regions+=("$path")
		elif [ "$(parent "$path")" = / ] && has "$path" device_type && [ "$(text "$path" device_type)" = memory ] &&
			available "$path"; then
			for ((i = 0; ; i++)); do
				range "$path" $i || break
				ram+=("$start") ram_size+=("$size")
			done
		fi
	done
}

#
# The policies: each prints why it is not for a region that can be used, and nothing if it is
#

# no_pageblock PATH - cma, metadata
no_pageblock() {
	local mib mask start end
	mib=$((PAGE_SIZE == 4096 ? 2 : PAGE_SIZE == 16384 ? 32 : 512))
	mask=$(((mib << 20) - 1))
	start=$(((storage[$1] + mask) & ~mask)) end=$(((storage[$1] + storage_size[$1]) & ~mask))
	below "$start" "$end" || echo "contains no whole pageblock ($mib MiB)"
}

# no_hotplug PATH - movable, node
no_hotplug() {
	local mib=$((PAGE_SIZE > 16384 ? 512 : 128))
	if [ $(((storage[$1] | storage_size[$1]) & ((mib << 20) - 1))) -ne 0 ]; then
		echo "is not aligned to memory blocks ($mib MiB), which are what can be hot-added"
	fi
}

# in_map NID - as the first number of a triple of the distance map
in_map() {
	local path digits
	for path in "${nodes[@]}"; do
		[ "$(text "$path" compatible)" = numa-distance-map-v1 ] || continue
		digits=${prop["$path:distance-matrix"]:-}
		while [ ${#digits} -ge 24 ]; do
			[ "${digits:0:8}" != "$1" ] || return 0
			digits=${digits:24}
		done
	done
	return 1
}

# no_node PATH - node
no_node() {
	local nid=${prop["$1:numa-node-id"]:-} path type taken=no known=yes
	nid=${nid:0:8}
	if [ -z "$nid" ]; then
		echo "has no numa-node-id for a node of its own"
		return
	fi
	in_map "$nid" || known=no
	for path in "${nodes[@]}"; do
		type=$(text "$path" device_type)
		if ! available "$path" || { [ "$type" != memory ] && [ "$type" != cpu ]; }; then
			continue
		fi
		# Where memory has no number, all of the machine is node 0.
		[ "$type" = cpu ] || has "$path" numa-node-id || known=no
		[ "${prop["$path:numa-node-id"]:-00000000}" != "$nid" ] || taken=yes
	done
	if [ "$taken" = yes ]; then
		echo "has the numa-node-id of a node with other memory or with CPUs"
	elif [ "$known" = no ]; then
		echo "has a numa-node-id that the machine's distance map does not name"
	fi
}

# describe PATH - a region that can be used; fails if there is no policy for it
describe() {
	local place policies why verdict=good
	if [ "$(in_memory "${storage[$1]}" "${storage_size[$1]}")" = none ]; then
		place='outside System RAM' policies='for policies movable and node'
		why=$(no_hotplug "$1")
		if [ -z "$why" ]; then
			why=$(no_node "$1")
			[ -z "$why" ] || policies="for policy movable; not for node, because it $why"
			why=
		fi
	else
		place='in System RAM' policies='for policies cma and metadata'
		why=$(no_pageblock "$1")
	fi
	if [ -n "$why" ]; then
		verdict='of no use' policies="for no policy, because it $why"
	fi
	printf '%s: %s, %d KiB of tag storage at %#x for %d MiB at %#x, block %d KiB; %s: %s\n' "$1" "$verdict" \
		$((storage_size[$1] >> 10)) "${storage[$1]}" $((data_size[$1] >> 20)) "${data[$1]}" \
		$(($(rounded "${block[$1]}") >> 10)) "$place" "$policies"
	[ -z "$why" ]
}

source=/proc/device-tree
PAGE_SIZE=
while [ $# -gt 0 ]; do
	case $1 in
	-h | --help)
		usage
		exit 0
		;;
	--page-size)
		PAGE_SIZE=${2:-none}
		shift
		;;
	-*) misuse "there is no option $1; see --help" ;;
	*) source=$1 ;;
	esac
	shift
done
[ -r "$source" ] || misuse "$source cannot be read: give a .dtb, or a folder such as /proc/device-tree"
if [ -z "$PAGE_SIZE" ]; then
	PAGE_SIZE=4096
	[ ! -d "$source" ] || PAGE_SIZE=$(awk '$1 == "KernelPageSize:" { print $2 * 1024; exit }' /proc/self/smaps)
fi
case $PAGE_SIZE in
4096 | 16384 | 65536) ;;
*) misuse "--page-size $PAGE_SIZE is no page size of arm64: give 4096, 16384 or 65536" ;;
esac

ours=$(printf '%s' "$COMPATIBLE" | od -An -v -tx1 | tr -d ' \n')00
read_tree "$source"
collect
taken=0
good=0
total=0
for i in "${!ram_size[@]}"; do
	total=$((total + ram_size[i]))
done
for path in "${regions[@]}"; do
	read_region "$path"
done
for path in "${regions[@]}"; do
	judge "$path"
	if [ -z "${why[$path]}" ]; then
		taken=$((taken + 1))
		if [ "$taken" -gt "$MAX_REGIONS" ]; then
			why[$path]="is one more than the engine supports: make neighbours one region"
		fi
	fi
	if [ -n "${why[$path]}" ]; then
		echo "$path ${why[$path]}; nothing of it is lent"
	elif describe "$path"; then
		good=$((good + 1))
	fi
done
if [ ${#regions[@]} -eq 0 ]; then
	echo "the device tree describes no tag storage (a node compatible with \"$COMPATIBLE\")"
fi
echo "regions: ${#regions[@]}, of which $good can be used; memory nodes: $((total >> 20)) MiB"
[ "$good" -gt 0 ] && [ "$good" -eq ${#regions[@]} ]
