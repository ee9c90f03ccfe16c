#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# scripts/deb.sh - builds the Debian packages tagstorage-dkms and tagstorage-tools (make deb)
#
# tagstorage-dkms: the source of the modules, for DKMS. tagstorage-tools: load.sh, check-dt.sh, the bpftrace tools, the
# documents and the examples. Both are for every architecture, of the version of dkms.conf; nothing is compiled. Prints
# the path of each package.
#
# Environment: OUT                  folder for the packages (default: beside this checkout)
#              DEBFULLNAME, DEBEMAIL  the maintainer (default: git's user)
#              SOURCE_DATE_EPOCH    date of the packages (default: of the last commit, else now)
# Exit status: 0 done; 1 not possible, and why.

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OUT=${OUT:-$TOP/..}

die() {
	printf 'deb.sh: %s\n' "$*" >&2
	exit 1
}

# git_says ARGUMENT... - or nothing
git_says() {
	git -C "$TOP" "$@" 2>/dev/null || true
}

# control PACKAGE - its control file, without the fields that both have from here
control() {
	local field
	case $1 in
	tagstorage-dkms)
		field='Depends: dkms
Recommends: tagstorage-tools
Description: lends idle MTE tag storage: source of the kernel modules
 On arm64 machines with MTE, 1/32 of memory is set aside for tags, and most of
 it idles. These modules lend the idle part to the page allocator, and take a
 block back the moment its tags are needed.
 .
 DKMS builds them for kernels with core-hooks.patch and its option, and skips
 all others.'
		;;
	tagstorage-tools)
		field='Depends: kmod
Recommends: bpftrace
Suggests: tagstorage-dkms
Description: lends idle MTE tag storage: scripts and documents
 Loads the modules of tagstorage and shows what they do, judges what a device
 tree says about tag storage, and traces blocks with bpftrace.'
		;;
	esac
	cat <<-END
		Package: $1
		Source: tagstorage
		Version: $version
		Architecture: all
		Maintainer: $maintainer
		Section: kernel
		Priority: optional
		Installed-Size: $(du -sk --exclude=DEBIAN "$stage/$1" | cut -f 1)
		$field
	END
}

# papers PACKAGE - changelog and copyright
papers() {
	local folder=$stage/$1/usr/share/doc/$1
	mkdir -p "$folder"
	gzip -9n >"$folder/changelog.gz" <<-END
		tagstorage ($version) unstable; urgency=medium

		  * What is new stands in NEWS.md of the package tagstorage-tools.

		 -- $maintainer  $(date -R -u -d "@$SOURCE_DATE_EPOCH")
	END
	cat >"$folder/copyright" <<-END
		Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
		Upstream-Name: tagstorage

		Files: *
		Copyright: $(date -u -d "@$SOURCE_DATE_EPOCH" +%Y) the tagstorage developers
		License: GPL-2
		 On Debian systems, the licence stands in /usr/share/common-licenses/GPL-2.
	END
}

# dkms_scripts FOLDER - what tells DKMS, as the packages of Debian's that dh_dkms helps to build do
dkms_scripts() {
	cat >"$1/postinst" <<-END
		#!/bin/sh
		set -e
		if [ "\$1" = configure ]; then
			/usr/lib/dkms/common.postinst tagstorage $version /usr/share/tagstorage-dkms "" "\$2"
		fi
	END
	cat >"$1/prerm" <<-END
		#!/bin/sh
		set -e
		case \$1 in
		remove | upgrade | deconfigure)
			[ ! -e /var/lib/dkms/tagstorage/$version ] || dkms remove -m tagstorage -v $version --all
			;;
		esac
	END
	chmod 755 "$1/postinst" "$1/prerm"
}

stage_dkms() {
	local source=$stage/tagstorage-dkms/usr/src/tagstorage-$version
	mkdir -p "$source/tagstorage_mod/policies"
	cp "$TOP"/{Kbuild,Makefile,dkms.conf} "$source/"
	cp "$TOP"/tagstorage_mod/*.[ch] "$source/tagstorage_mod/"
	cp "$TOP"/tagstorage_mod/policies/*.[ch] "$source/tagstorage_mod/policies/"
	find "$source" -name '*.mod.c' -delete
	dkms_scripts "$stage/tagstorage-dkms/DEBIAN"
}

stage_tools() {
	make -s -C "$TOP" install-tools DESTDIR="$stage/tagstorage-tools" PREFIX=/usr \
		docdir="$stage/tagstorage-tools/usr/share/doc/tagstorage-tools"
}

# package NAME - from its stage to OUT
package() {
	papers "$1"
	chmod -R u=rwX,go=rX "$stage/$1"
	control "$1" >"$stage/$1/DEBIAN/control"
	(cd "$stage/$1" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | LC_ALL=C sort -z |
		xargs -0 md5sum >DEBIAN/md5sums)
	dpkg-deb --root-owner-group --build "$stage/$1" "$OUT/$1_${version}_all.deb" >/dev/null
	echo "$(cd "$OUT" && pwd)/$1_${version}_all.deb"
}

command -v dpkg-deb >/dev/null || die "there is no dpkg-deb: run this on Debian, or install the package dpkg"
[ -w "$OUT/." ] || die "nothing can be written to $OUT: name another folder with OUT="
version=$(sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' "$TOP/dkms.conf")
name=${DEBFULLNAME:-$(git_says config user.name)}
mail=${DEBEMAIL:-$(git_says config user.email)}
maintainer="${name:-tagstorage developers} <${mail:-$(id -un)@$(hostname)}>"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git_says log -1 --format=%ct)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date +%s)}
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage"/{tagstorage-dkms,tagstorage-tools}/DEBIAN
stage_dkms
stage_tools
package tagstorage-dkms
package tagstorage-tools
