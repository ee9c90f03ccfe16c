# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# dkms/guest.sh - in the guest: DKMS of this Debian release, in a tree of its own, with the kernel's headers packages
#
# Expects at /mnt/files: tree.tar, headers.deb, tagstorage-dkms.deb, source/ with the project, now with the time in
# seconds; the scratch disk.
# Sourced by the script of dkms/in-machine, after engine/guest.sh; sets $status through that.

engine=/sys/kernel/mm/tagstorage
tree=/mnt/scratch
version=$(sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' /mnt/files/source/dkms.conf)
release=$(uname -r)
this=tagstorage/$version

# inside COMMAND... - in the tree
inside() {
	chroot "$tree" env HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C DEBIAN_FRONTEND=noninteractive "$@"
}

# quiet COMMAND... - shows what it says only if it fails
quiet() {
	"$@" >/tmp/quiet 2>&1 || {
		cat /tmp/quiet
		return 1
	}
}

# ends STATUS REGEX WHAT COMMAND... - with this exit status, and says this
ends() {
	local should=$1 regex=$2 what=$3 is good=1
	shift 3
	"$@" >/tmp/said 2>&1
	is=$?
	if [ $is -eq "$should" ] && { [ -z "$regex" ] || grep -qE -- "$regex" /tmp/said; }; then
		good=0
	fi
	[ $good -eq 0 ] || cat /tmp/said
	result $good "$what$([ $is -eq "$should" ] || echo ": exit status $is, $should expected")"
}

# unpack - the clock first: the machine has none, and make goes by the files' times
unpack() {
	date -s "@$(cat /mnt/files/now)" >/dev/null
	tar -C "$tree" -xf /mnt/files/tree.tar || return
	cp -r /mnt/files/source "$tree/root/tagstorage" || return
	cp /mnt/files/headers.deb /mnt/files/tagstorage-dkms.deb "$tree/root/" || return
	mount -t proc none "$tree/proc" && mount -t sysfs none "$tree/sys" && mount -t devtmpfs none "$tree/dev" &&
		mount -t tmpfs none "$tree/tmp"
}

# headers - installs the headers package of the kernel
headers() {
	quiet inside dpkg --force-unsafe-io -i /root/headers.deb
}

# package - installs tagstorage-dkms, whose dependencies are in the tree, but unknown to its dpkg
package() {
	inside dpkg --force-unsafe-io --force-depends -i /root/tagstorage-dkms.deb
}

# installed - the modules that DKMS has put where modprobe finds them
installed() {
	find "$tree/usr/lib/modules/$release/updates/dkms" -name '*.ko' 2>/dev/null | wc -l
}

# apt_runs STATUS REGEX WHAT - what apt runs when a kernel, or its headers, have been installed ends with this exit status
# (run-parts makes 1 of any failure), and says this. It reaches DKMS: its service says nothing and does not call it where it
# misses the headers, and run-parts is content with an empty folder.
apt_runs() {
	local folder
	mkdir -p "$tree/root/watched"
	cat >"$tree/root/watched/dkms" <<-'EOF'
		#!/bin/sh
		echo "$*" >>/root/watched/calls
		exec /usr/sbin/dkms "$@"
	EOF
	chmod +x "$tree/root/watched/dkms"
	for folder in postinst.d header_postinst.d; do
		rm -f "$tree/root/watched/calls"
		ends "$1" "$2" "$3: $folder" inside env PATH=/root/watched:/usr/sbin:/usr/bin:/sbin:/bin \
			run-parts --exit-on-error --arg="$release" "/etc/kernel/$folder"
		grep -q "running auto installation service for kernel $release" /tmp/said
		result $? "$3: $folder runs the service of DKMS"
		same "$(cat "$tree/root/watched/calls")" "autoinstall --kernelver $release" "$3: $folder calls DKMS"
	done
}

# with_autoinstall - why dkms.conf has no AUTOINSTALL: DKMS before 3.0.11 takes the skip for a failure, and so does apt
with_autoinstall() {
	local conf=$tree/usr/src/tagstorage-$version/dkms.conf should=0 apt=0 have
	have=$(inside dkms --version)
	have=${have#dkms-}
	! inside dpkg --compare-versions "$have" lt 3.0.11 || should=11 apt=1
	cp "$conf" /tmp/dkms.conf
	echo 'AUTOINSTALL="yes"' >>"$conf"
	ends $should "" "with AUTOINSTALL it would end $should (dkms $have)" inside dkms autoinstall -k "$release"
	apt_runs $apt "$([ $apt -eq 0 ] || echo "dkms exited with return code $should")" \
		"with AUTOINSTALL what apt runs would end $apt"
	cp /tmp/dkms.conf "$conf"
}

# without_option - on a kernel that has no hooks
without_option() {
	local sentence="kernel $release was built without CONFIG_ARM64_MTE_TAG_STORAGE, so it is skipped: apply core-hooks.patch"
	ends 0 "" "dkms add" inside dkms add /root/tagstorage
	ends 0 "^$this: added" "dkms status: added" inside dkms status
	ends 77 "$sentence" "dkms build is skipped (77), and says why" inside dkms build "$this" -k "$release"
	same "$(grep -c "$sentence" /tmp/said)" 1 "it says so once"
	ends 0 "" "dkms autoinstall is unharmed" inside dkms autoinstall -k "$release"
	with_autoinstall
	apt_runs 0 "" "what apt runs is unharmed"
	ends 0 "Skipped|skipped" "so is the package tagstorage-dkms" package
	same "$(inside dkms status)" "$this: added" "dkms status: added, and no more"
	same "$(installed)" 0 "nothing is installed"
}

# with_option - on the kernel that runs
with_option() {
	local conf=$tree/usr/src/tagstorage-$version/dkms.conf count
	count=$(grep -c "^BUILT_MODULE_NAME" /mnt/files/source/dkms.conf)
	ends 0 "" "dkms add" inside dkms add /root/tagstorage
	ends 0 "" "dkms build" inside dkms build "$this" -k "$release"
	! grep -iE "error|warning:|deprecated" /tmp/said
	result $? "it has nothing to complain about"
	ends 0 "^$this, $release, aarch64: built" "dkms status: built" inside dkms status
	ends 0 "" "dkms install" inside dkms install "$this" -k "$release"
	ends 0 "^$this, $release, aarch64: installed" "dkms status: installed" inside dkms status
	same "$(installed)" "$count" "all modules are installed"
	ends 0 "" "dkms autoinstall has nothing to do" inside dkms autoinstall -k "$release"
	# Who adds AUTOINSTALL, which dkms.conf leaves out (see with_autoinstall), has them on each kernel.
	ends 0 "" "dkms uninstall" inside dkms uninstall "$this" -k "$release"
	same "$(installed)" 0 "nothing is installed"
	cp "$conf" /tmp/dkms.conf
	echo 'AUTOINSTALL="yes"' >>"$conf"
	ends 0 "" "with AUTOINSTALL, dkms autoinstall" inside dkms autoinstall -k "$release"
	same "$(installed)" "$count" "installs all modules"
	cp /tmp/dkms.conf "$conf"
}

# in_use - the modules that DKMS built do what they should
in_use() {
	local at_boot
	at_boot=$(memtotal)
	works "modprobe loads the engine and a policy" inside modprobe tagstorage_cma
	same "$(cat /sys/module/tagstorage/version)" "$version" "the version is that of dkms.conf"
	same "$(cat $engine/policy)" "carveout [cma]" "cma is active"
	settle
	[ "$(sum lent_pages)" -gt 16000 ]
	result $? "tag storage is lent"
	works "modprobe loads another policy" inside modprobe tagstorage_metadata
	works "the policy is swapped" set_policy metadata
	same "$(cat $engine/policy)" "carveout cma [metadata]" "metadata is active"
	audit "after the swap"
	set_policy carveout
	works "modprobe -r removes them" inside modprobe -r tagstorage_metadata tagstorage_cma
	same "$(memtotal)" "$at_boot" "MemTotal is as at boot"
}

# built_by_load - with no modules anywhere, scripts/load.sh builds those of the checkout, and loads them from there
built_by_load() {
	local load=/root/tagstorage/scripts/load.sh at_boot
	at_boot=$(memtotal)
	ends 0 "^building the modules for $release" "load.sh builds the modules" inside $load cma
	# The kernel's own compiler is a cross compiler.
	! grep -iE "error:|warning:|deprecated" /tmp/said | grep -v "warning: the compiler differs from the one used to build"
	result $? "it has nothing to complain about"
	same "$(cat $engine/policy)" "carveout [cma]" "cma is active"
	settle
	[ "$(sum lent_pages)" -gt 16000 ]
	result $? "tag storage is lent"
	audit "built by load.sh"
	ends 0 "^unloaded: " "load.sh --unload" inside $load --unload
	same "$(memtotal)" "$at_boot" "MemTotal is as at boot"
	ends 0 "" "load.sh again" inside $load cma
	! grep "^building" /tmp/said
	result $? "nothing is built again"
	ends 0 "^unloaded: " "load.sh --unload" inside $load --unload
}

# gone WHAT COMMAND... - nothing is left of it
gone() {
	ends 0 "" "$@"
	same "$(inside dkms status)" "" "dkms status: nothing"
	same "$(installed)" 0 "no module is left"
	ends 1 "not found" "modprobe does not find it any more" inside modprobe tagstorage
}

forgotten() {
	gone "dkms remove" inside dkms remove "$this" --all
}

# packaged - what the package brings is enough to build from, and its scripts do all that was done by hand before
packaged() {
	local count
	count=$(grep -c "^BUILT_MODULE_NAME" /mnt/files/source/dkms.conf)
	rm -r "$tree/usr/src/tagstorage-$version"
	ends 0 "" "dpkg installs tagstorage-dkms" package
	ends 0 "^$this, $release, aarch64: installed" "dkms status: installed" inside dkms status
	same "$(installed)" "$count" "all modules are installed"
	works "modprobe loads the engine and a policy" inside modprobe tagstorage_cma
	same "$(cat $engine/policy)" "carveout [cma]" "cma is active"
	works "modprobe -r removes them" inside modprobe -r tagstorage_cma
	gone "dpkg removes tagstorage-dkms" inside dpkg --force-unsafe-io --remove tagstorage-dkms
	[ ! -e "$tree/usr/src/tagstorage-$version" ]
	result $? "its source is gone"
}
