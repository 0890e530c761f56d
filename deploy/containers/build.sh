#!/bin/sh
# Builds the image with buildah, without a container engine, and unpacks its file system into WORK/rootfs.
#   build.sh WORK             the Dockerfile's own base image, from your registry
#   BASE=debian build.sh WORK a base made here of Debian's packages (root, mmdebstrap), where no registry is reached
# Settings: APT_SOURCES, PIP_CONF, CA_FILE (what the build asks for packages through).
set -eu
work=$(mkdir -p "${1:?where to work}" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."

# A storage of its own: it touches no other images, and a clean-up is one folder.
printf '[storage]\ndriver = "%s"\ngraphroot = "%s/images"\nrunroot = "%s/run"\n' "${DRIVER:-overlay}" "$work" "$work" \
    > "$work/storage.conf"
export CONTAINERS_STORAGE_CONF="$work/storage.conf" BUILDAH_ISOLATION=chroot

set --
if [ "${BASE:-}" = debian ]; then
    if ! [ -e "$work/base.tar" ]; then
        mmdebstrap --quiet --mode=root --variant=minbase --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
            --include=python3.11,python3.11-venv,ca-certificates,tzdata \
            --customize-hook='ln -sf python3.11 "$1/usr/bin/python3"' \
            --customize-hook='rm -rf "$1/var/lib/apt/lists" "$1/usr/share/doc" "$1/usr/share/locale" "$1/usr/share/man"' \
            bookworm "$work/base.part.tar" < "${APT_SOURCES:-/etc/apt/sources.list.d/debian.sources}"
        mv "$work/base.part.tar" "$work/base.tar"
    fi
    if ! buildah inspect --type image python-base >/dev/null 2>&1; then
        container=$(buildah from scratch)
        buildah add --quiet "$container" "$work/base.tar" /
        buildah commit --quiet "$container" python-base
        buildah rm "$container" >/dev/null
    fi
    set -- --build-arg PYTHON_IMAGE=localhost/python-base --pull-never
fi
[ -z "${PIP_CONF:-}" ] || set -- "$@" --secret "id=pip,src=$PIP_CONF"
[ -z "${CA_FILE:-}" ] || set -- "$@" --secret "id=ca,src=$CA_FILE"

buildah build --quiet --network host --layers=false --format docker -f deploy/containers/Dockerfile \
    --ignorefile deploy/containers/Dockerfile.dockerignore -t quant-assets "$@" . > "$work/image.id"
container=$(buildah from --pull-never localhost/quant-assets)
rm -rf "$work/rootfs"
cp -a "$(buildah mount "$container")" "$work/rootfs"
buildah umount "$container" >/dev/null
buildah rm "$container" >/dev/null
buildah inspect --type image --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' localhost/quant-assets \
    > "$work/environment"
echo "image $(cut -c1-19 "$work/image.id"), $(du -sm "$work/rootfs" | cut -f1) MB in $work/rootfs"
