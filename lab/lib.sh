# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# lab/lib.sh - what the lab's shell scripts share. Sourced, never run.
#
# Sets:    LAB, TOP (this folder and the checkout), CACHE (everything that the lab builds),
#          RELEASE (codename of this Debian release), KERNEL_PACKAGE (the kernel's source),
#          CROSS (prefix of the cross compiler)
# Reads:   XDG_CACHE_HOME
# Errors:  each function that fails ends the script through die(), with one sentence on stderr.

LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # used by the scripts that source this file
TOP=$(dirname "$LAB")
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/tagstorage
# shellcheck disable=SC2034 # used by the scripts that source this file
RELEASE=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# shellcheck disable=SC2034
KERNEL_PACKAGE=linux-source-6.12
# shellcheck disable=SC2034
CROSS=aarch64-linux-gnu-

# say TEXT... - progress for people; stdout belongs to results
say() {
	printf '%s\n' "$*" >&2
}

# die TEXT... - one clear sentence, then the end
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# usage - prints the header comment of the running script, which is its manual
usage() {
	sed -n '2,/^[^#]/{/^#\( \|$\)/s/^# \{0,1\}//p}' "$0" | grep -v '^SPDX-'
}

# digest - 16 hex digits that stand for everything on stdin
digest() {
	sha256sum | cut -c1-16
}

# digest_files FILE|FOLDER... - the same for names and contents of files
digest_files() {
	local root
	for root in "$@"; do
		[ -e "$root" ] || continue
		(cd "$(dirname "$root")" && find "$(basename "$root")" -type f -print0 | LC_ALL=C sort -z |
			xargs -0 -r sha256sum)
	done | digest
}

# lock NAME [-s] - waits for the lock NAME, and holds it until the script ends; -s: shared
lock() {
	local fd
	mkdir -p "$CACHE/lock"
	exec {fd}>"$CACHE/lock/$1"
	if ! flock -n ${2:+"$2"} "$fd"; then
		say "waiting for another build of $1"
		flock ${2:+"$2"} "$fd" || die "the lock $CACHE/lock/$1 cannot be had"
	fi
}

# package_version NAME - version of an installed package, empty if it is not installed
package_version() {
	# shellcheck disable=SC2016 # dpkg's own variables
	dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null | sed -n 's/^installed //p'
}

# mirror SUITE - where apt has the packages of a suite of Debian's from, by the name that apt's sources
# call it or by its codename
mirror() {
	local field uri
	for field in Release Codename; do
		# shellcheck disable=SC2016 # apt's own variable
		uri=$(apt-get indextargets --format '$(REPO_URI)' "$field: $1" "Created-By: Packages" | head -n 1)
		[ -z "$uri" ] || break
	done
	echo "$uri"
}

# kernel_version - the version of the kernel's source package
kernel_version() {
	local version
	version=$(package_version "$KERNEL_PACKAGE")
	[ -n "$version" ] || die "the package $KERNEL_PACKAGE is not installed: run lab/setup"
	echo "$version"
}

# kernel_source - unpacks the kernel's source, once per version, and prints where; nobody may write there
kernel_source() (
	current=$(kernel_version)
	folder=$CACHE/src/linux-$current
	if [ ! -e "$folder" ]; then
		lock kernel-source
	fi
	if [ ! -e "$folder" ]; then
		say "unpacking $KERNEL_PACKAGE $current"
		rm -rf "$CACHE"/src/*
		mkdir -p "$folder.new"
		tar -C "$folder.new" --strip-components=1 -xf "/usr/src/$KERNEL_PACKAGE.tar.xz"
		mv "$folder.new" "$folder"
	fi
	echo "$folder"
)
