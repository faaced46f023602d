#!/usr/bin/env bash
# Installs the Debian packages that a step needs, only those that are missing, and says so.
# Usage: packages.sh SET...   with SET one of build, test, bench.
set -euo pipefail

# RocksDB is C++ and its binding is generated with libclang; ccache keeps its second build cheap.
build=(build-essential clang libclang-dev ccache fuse3)
# What the tests drive the mount with.
test=(acl attr e2fsprogs git python3 qemu-utils rsync sqlite3 strace tar util-linux libacl1-dev)
# What the bench measures beside us.
bench=(gocryptfs restic borgbackup git tar python3)

wanted=()
for set in "$@"; do
  case $set in
    build) wanted+=("${build[@]}") ;;
    test) wanted+=("${test[@]}") ;;
    bench) wanted+=("${bench[@]}") ;;
    *) echo "packages.sh: no set is called '$set' (build, test, bench)" >&2; exit 64 ;;
  esac
done

if ! command -v cargo >/dev/null; then
  echo "A Rust toolchain is missing: cargo is not on the PATH." >&2
  exit 69
fi
if ! command -v dpkg-query >/dev/null; then
  echo "This is not a Debian system: install the equivalents of ${wanted[*]} yourself if the build misses one." >&2
  exit 0
fi

missing=()
for package in "${wanted[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then
    echo "Missing packages, and no way to become root here. Run as root, then try again:" >&2
    echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 77
  fi
  as_root=(sudo)
fi
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends)
echo "Installing ${missing[*]}"
# A fresh machine has no package lists yet: fetch them only when the first try fails.
"${install[@]}" "${missing[@]}" >/dev/null 2>&1 || {
  "${as_root[@]}" apt-get update -qq
  "${install[@]}" "${missing[@]}" >/dev/null
}
