#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# scripts/sign.sh KDIR MODULE... - signs modules for a kernel that loads signed ones only (make sign)
#
# KDIR is the kernel's build folder or headers. Key and certificate are those of DKMS: what its framework.conf names, else
# /var/lib/dkms/mok.key and mok.pub. The certificate must be enrolled (mokutil --import) or built into the kernel.
#
# Environment: KEY, CERT        another private key (PEM) and certificate (DER or PEM)
#              KBUILD_SIGN_PIN  pass phrase of the key
#              FRAMEWORK        configuration of DKMS (default: /etc/dkms/framework.conf)
# Exit status: 0 done; 1 not possible, and why; 2 wrong usage.

set -uo pipefail

FRAMEWORK=${FRAMEWORK:-/etc/dkms/framework.conf}

die() {
	printf 'sign.sh: %s\n' "$*" >&2
	exit 1
}

# setting NAME - what DKMS is told, empty if nothing
setting() {
	sed -n "s/^[[:space:]]*$1=[\"']\{0,1\}\([^\"']*\)[\"']\{0,1\}[[:space:]]*$/\1/p" "$FRAMEWORK" 2>/dev/null | tail -n 1
}

# find_signer - the program that signs: the kernel's own, or the one of Debian's package sbsigntool
find_signer() {
	if [ -x "$kdir/scripts/sign-file" ]; then
		echo "$kdir/scripts/sign-file"
	else
		command -v kmodsign ||
			die "$kdir has no scripts/sign-file: build that kernel with CONFIG_MODULE_SIG, or install the package sbsigntool"
	fi
}

# find_hash - the digest that the kernel was built for
find_hash() {
	local hash
	hash=$(cat "$kdir/.config" "$kdir/include/config/auto.conf" 2>/dev/null |
		sed -n 's/^CONFIG_MODULE_SIG_HASH="\(.*\)"/\1/p' | head -n 1)
	echo "${hash:-sha256}"
}

if [ $# -lt 2 ]; then
	echo "sign.sh: say which modules to sign: scripts/sign.sh KDIR MODULE..." >&2
	exit 2
fi
kdir=$1
shift
key=${KEY:-$(setting mok_signing_key)}
key=${key:-/var/lib/dkms/mok.key}
cert=${CERT:-$(setting mok_certificate)}
cert=${cert:-/var/lib/dkms/mok.pub}
[ -r "$key" ] || [ "${key#pkcs11:}" != "$key" ] ||
	die "the key $key cannot be read: run this as root after DKMS has built a module, which makes one, or name yours with KEY= and CERT="
[ -r "$cert" ] || die "the certificate $cert cannot be read: name the one that belongs to $key with CERT="
signer=$(find_signer) || exit 1
hash=$(find_hash)
for module in "$@"; do
	[ -e "$module" ] || die "there is no $module: run make first"
	"$signer" "$hash" "$key" "$cert" "$module" || die "$module could not be signed: see the message above"
	echo "signed $module"
done
