#!/bin/sh
# Loads what makes Linux refuse unsigned programs, from the folder that this
# script stands in. README.md there says what each step does and needs.
#
#   enforce keys      the certificates, into the kernel's keyrings
#   enforce verity    fs-verity, on the programs of the list; also after an upgrade
#   enforce ima       the IMA policy; until the next boot
#   enforce ipe       the IPE policy, permissive: refusals are only logged
#   enforce ipe-on    and from now on they are refusals
#   enforce status    what is in force
set -eu

here=$(cd "$(dirname "$0")" && pwd)
security=${SECURITYFS:-/sys/kernel/security}

fail() {
	echo "enforce: $*" >&2
	exit 1
}

need() {
	command -v "$1" >/dev/null || fail "$1 is missing: install $2"
}

# ring NAME tells whether the kernel has a keyring.
ring() {
	keyctl describe "%keyring:$1" >/dev/null 2>&1
}

# add KEYRING FILE
add() {
	keyctl padd asymmetric "" "%keyring:$1" <"$2" >/dev/null ||
		fail "the kernel did not take $(basename "$2") into $1: README.md says what it wants"
}

keys() {
	need keyctl keyutils
	if [ -e "$here/programs" ]; then
		ring .fs-verity || fail "this kernel has no keyring .fs-verity: it is built without FS_VERITY_BUILTIN_SIGNATURES"
		add .fs-verity "$here/ca.der"
		add .fs-verity "$here/signer.der"
	fi
	if [ -e "$here/ima-policy" ]; then
		if ring .ima; then
			add .ima "$here/signer.der"
		else
			ring _ima || keyctl newring _ima @u >/dev/null
			add _ima "$here/signer.der"
		fi
	fi
}

verity() {
	[ -e "$here/programs" ] || fail "there is no list of programs here"
	need fsverity "fsverity (Fedora: fsverity-utils)"
	failed=
	tab=$(printf '\t')
	while IFS=$tab read -r program signature; do
		[ -e "$program" ] || continue # not installed
		if fsverity measure "$program" >/dev/null 2>&1; then
			continue # enabled already: such a file cannot be changed any more
		fi
		fsverity enable --hash-alg=HASH --signature="$signature" "$program" || failed="$failed $program"
	done <"$here/programs"
	[ -z "$failed" ] || fail "verity was not enabled on$failed: the file system must have the feature (tune2fs -O verity), and the file must be the one that was signed, and open for writing nowhere"
}

ima() {
	[ -w "$security/ima/policy" ] || fail "this kernel takes no IMA policy: it is built without IMA_APPRAISE, or has taken one since it was booted"
	cat "$here/ima-policy" >"$security/ima/policy"
}

# name is that of the policy.
name() {
	sed -n '1s/^policy_name=\([^ ]*\) .*/\1/p' "$here/ipe-policy"
}

ipe() {
	[ -d "$security/ipe" ] || fail "this kernel has no IPE: it is older than 6.12, built without it, or booted without ipe in lsm="
	policy=$security/ipe/policies/$(name)
	echo 0 >"$security/ipe/enforce"
	if [ -d "$policy" ]; then
		cat "$here/ipe-policy.p7b" >"$policy/update"
	else
		cat "$here/ipe-policy.p7b" >"$security/ipe/new_policy"
	fi
	echo 1 >"$policy/active"
}

ipe_on() {
	[ "$(cat "$security/ipe/policies/$(name)/active" 2>/dev/null)" = 1 ] || fail "the policy is not active: run enforce ipe, and look at the log before this"
	echo 1 >"$security/ipe/enforce"
}

status() {
	if [ -e "$here/programs" ]; then
		cut -f1 "$here/programs" | while read -r program; do
			fsverity measure "$program" 2>/dev/null || echo "no fs-verity: $program"
		done
	fi
	for file in ipe/enforce ipe/policies/*/active ima/policy; do
		for f in "$security"/$file; do
			if [ -r "$f" ]; then echo "$f:" && cat "$f"; fi
		done
	done
}

case ${1-} in
keys) keys ;;
verity) verity ;;
ima) ima ;;
ipe) ipe ;;
ipe-on) ipe_on ;;
status) status ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
