#!/bin/sh
# Runs a command in an unpacked image as a container would: run.sh WORK COMMAND… (root; WORK is that of build.sh)
# Its own processes and mounts, a read-only root, memory for /tmp and the home, the image's user and environment, no
# capability, and with NETWORK=none no network but its own loopback. HOME_DIR=folder keeps the home there.
set -eu
work=$(cd "${1:?where build.sh has worked}" && pwd)
shift
[ -s "$work/environment" ] || { echo "error: $work has no image; make one with build.sh" >&2; exit 1; }
net=
[ "${NETWORK:-}" != none ] || net=--net
# shellcheck disable=SC2086
exec unshare --mount --pid --ipc --fork --kill-child $net sh -euc '
    work=$1 home=$2
    shift 2
    root=$work/rootfs
    mount --make-rprivate /
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
    mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
    mount -t tmpfs -o nosuid,mode=755 tmpfs "$root/dev"
    for node in null zero full random urandom; do
        touch "$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
    done
    ln -s /proc/self/fd "$root/dev/fd"
    mkdir -m 1777 "$root/dev/shm"
    mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$root/tmp"
    if [ -n "$home" ]; then
        mount --bind "$home" "$root/var/lib/quant-assets"
    else
        mount -t tmpfs -o nosuid,nodev,mode=750,uid=10001,gid=10001 tmpfs "$root/var/lib/quant-assets"
    fi
    # A new network has its loopback down.
    [ -z "'"$net"'" ] || ip link set lo up
    exec chroot "$root" setpriv --reuid=10001 --regid=10001 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs \
        env -i --chdir=/var/lib/quant-assets $(cat "$work/environment") "$@"
' sh "$work" "${HOME_DIR:-}" "$@"
