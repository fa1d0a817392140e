#!/usr/bin/env bash
# Proves that a new machine needs nothing but this checkout: makes a minimal Debian 12 root with
# debootstrap, puts a clone of HEAD into it and runs `./run test` (or the command given) there, as root,
# in a chroot of its own. Needs root, debootstrap and the Debian mirror; takes a few GB and minutes, so it
# is run by hand and not by CI.
#
#   tests/fresh_root.sh [FOLDER] [COMMAND...]      default: /var/tmp/mimo-fresh-root ./run test
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=${1:-/var/tmp/mimo-fresh-root}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- ./run test

if [ ! -f "$root/.ready" ]; then
  rm -rf "$root"
  debootstrap --variant=minbase bookworm "$root" >"$root.log" 2>&1 || { tail "$root.log" >&2; exit 1; }
  touch "$root/.ready"
fi
rm -rf "$root/work"
git clone -q "$source" "$root/work"
# Names are resolved as they are here.
cp /etc/resolv.conf /etc/hosts "$root/etc/"

mounted=()
release() { for place in "${mounted[@]}"; do umount -R "$place" 2>/dev/null || true; done; }
trap release EXIT
for place in proc sys dev; do
  mount --rbind "/$place" "$root/$place" && mount --make-rslave "$root/$place"
  mounted=("$root/$place" "${mounted[@]}")
done

env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
  chroot "$root" /bin/bash -c 'cd /work && "$@"' fresh "$@"
