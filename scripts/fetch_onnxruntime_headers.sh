#!/bin/sh
# Unpacks the ONNX Runtime C headers of Debian 13 into a folder; nothing is installed.
#
#     scripts/fetch_onnxruntime_headers.sh runtime/cpp/build/onnxruntime-headers
#
# Prints the folder that holds onnxruntime_c_api.h. The mirror is the one that this machine's own
# apt is set to; the lists live in a folder of their own, so no root rights are needed and the
# system's lists stay as they are. Only the C header is used: its interface is versioned and newer
# libraries serve it, so the library may come from the Python wheel.
set -eu

out=${1:?usage: fetch_onnxruntime_headers.sh FOLDER}
suite=${TROCAR_DEBIAN_SUITE:-trixie}
package=libonnxruntime-dev

say() { echo "fetch_onnxruntime_headers: $*" >&2; }
give_up() {
    say "$1"
    say "expected: a Debian-style machine whose apt reaches a mirror that carries $suite"
    say "instead: point CMake at headers you have, -DTROCAR_ONNXRUNTIME_INCLUDE=<folder of onnxruntime_c_api.h>"
    exit 1
}
found() { find "$1" -name onnxruntime_c_api.h 2>/dev/null | head -n 1; }

header=$(found "$out")
if [ -n "$header" ]; then
    dirname "$header"
    exit 0
fi
for tool in apt-get apt-config dpkg dpkg-deb; do
    command -v "$tool" >/dev/null 2>&1 || give_up "there is no $tool here"
done

# The machine's Debian mirror: the first archive that is neither a security nor a third party's one.
mirror=${TROCAR_DEBIAN_MIRROR:-}
if [ -z "$mirror" ]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' 2>/dev/null |
        awk '$2 == "main" && $1 ~ /\/debian\/?$/ { print $1; exit }')
fi
[ -n "$mirror" ] || give_up "apt on this machine names no Debian archive (TROCAR_DEBIAN_MIRROR sets one)"

keyring=""
for file in "/usr/share/keyrings/debian-archive-$suite-stable.gpg" \
            /usr/share/keyrings/debian-archive-keyring.gpg; do
    if [ -f "$file" ]; then keyring=$file; break; fi
done
[ -n "$keyring" ] || give_up "the archive keys of Debian are not installed (package debian-archive-keyring)"

mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d "$out/.apt.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# Under root, apt drops to its own user for downloads, who must be able to enter the folder.
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/unpacked" "$work/none"
: >"$work/status"
echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/sources.list"

apt() {
    apt-get -q -q \
        -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts="$work/none" \
        -o Dir::State="$work" -o Dir::State::lists="$work/lists" -o Dir::State::status="$work/status" \
        -o Dir::Cache="$work/cache" -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o APT::Get::List-Cleanup=0 "$@"
}
(
    cd "$work"
    apt update >&2 && apt download "$package" >&2
) || give_up "could not download $package of $suite from this machine's mirror"
deb=$(find "$work" -maxdepth 1 -name "$package*.deb" | head -n 1)
[ -n "$deb" ] || give_up "$package of $suite was not found"
dpkg-deb -x "$deb" "$work/unpacked" || give_up "$package could not be unpacked"
header=$(found "$work/unpacked")
[ -n "$header" ] || give_up "$package holds no onnxruntime_c_api.h"

# Moved in one step, so that an interrupted run leaves nothing that looks finished.
rm -rf "$out/include"
mv "$(dirname "$header")" "$out/include"
echo "$out/include"
