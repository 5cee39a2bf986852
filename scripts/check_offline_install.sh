#!/usr/bin/env bash
# Proves an installation without network, compiler and anything of this machine: an empty Debian with Python, a folder of
# wheels, and no way out.
#
#     scripts/check_offline_install.sh [FOLDER]         default: build/offline
#
#     1. with a network: an empty root (debootstrap), and a folder of wheels (trocar wheelhouse)
#     2. in the root, without network and compiler: install, doctor, demo
#     3. a compiler is added; without network: a C++ project by find_package(trocar), and the C example
#
# Needs root rights, debootstrap, unshare, a Debian mirror, a package index, and .venv of this checkout. What is there
# from an earlier run is used again. WHEEL names a wheel with libtrocar; SUITE the release (default: bookworm); CORES the
# processors (e.g. 0,1). It takes about 12 GB of disk. Ends with a line for each step and its seconds; the exit code is 0
# when all went well.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m "${1:-$here/build/offline}")
suite=${SUITE:-bookworm}
root=$out/root-$suite
python=$here/.venv/bin/python
[ "$(id -u)" = 0 ] || { echo "root rights are needed, for chroot and network namespaces"; exit 2; }
for tool in debootstrap unshare; do
    command -v "$tool" >/dev/null || { echo "there is no $tool: apt-get install debootstrap util-linux"; exit 2; }
done
mkdir -p "$out"
lines=()

# step NAME COMMAND…: runs it, with a log of its own.
step() {
    local name=$1 log started=$SECONDS
    shift
    log="$out/${name// /-}.log"
    echo "… $name"
    if ! "$@" >"$log" 2>&1; then
        tail -n 30 "$log"
        echo "FAILED: $name, see $log"
        exit 1
    fi
    lines+=("$(printf '%5d s  %s' $((SECONDS - started)) "$name")")
}

# inside COMMAND: a shell in the root, with processes and a loopback of its own, and no network.
inside() {
    # shellcheck disable=SC2016
    ${CORES:+taskset -c "$CORES"} unshare --net --mount --pid --fork bash -euc '
        mount -t proc proc "$1/proc"
        mount -t tmpfs tmpfs "$1/dev/shm"
        mount --bind -o ro "$2" "$1/media"
        exec chroot "$1" /usr/bin/env -i HOME=/root PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 /bin/bash -euc "$3"
    ' inside "$root" "$out/wheels" "$1"
}

build_wheel() {
    local copy
    copy=$(mktemp -d)
    git -C "$here" archive HEAD | tar -x -C "$copy"
    (cd "$copy" && TROCAR_CPP=1 "$python" -m build --wheel --no-isolation -o "$out/dist")
    rm -rf "$copy"
}

if [ ! -e "$root/.complete" ]; then
    rm -rf "$root"
    step "an empty root" debootstrap --variant=minbase --include=python3,python3-venv "$suite" "$root"
    touch "$root/.complete"
fi
if [ -z "${WHEEL:-}" ]; then
    rm -rf "$out/dist"
    step "a wheel with libtrocar" build_wheel
    WHEEL=$(ls "$out"/dist/*.whl)
fi
if [ ! -e "$out/wheels/requirements.txt" ]; then
    PYTHONPATH=$here step "a folder of wheels" "$python" -m trocar wheelhouse "$out/wheels" --extra cpu --extra train \
        --extra export --constraint "$here/constraints.txt" --trocar "$WHEEL"
fi
rm -rf "$root/work" "$root/opt/trocar"
mkdir -p "$root/work" "$root/dev/shm"
cp -r "$here/runtime/cpp/tests/consumer" "$here/runtime/cpp/examples/one_image.c" "$root/work/"

step "no network and no compiler" inside '
    ! command -v cc && ! command -v g++ && ! command -v cmake
    python3 -c "import socket
try:
    socket.create_connection((\"192.0.2.1\", 80), timeout=3)
except OSError as error:
    print(error)
else:
    raise SystemExit(\"there is a network\")"'
step "install" inside '
    python3 -m venv /opt/trocar
    /opt/trocar/bin/pip install --quiet --no-index --find-links /media --require-hashes -r /media/requirements.txt'
step "doctor" inside 'cd /work && /opt/trocar/bin/trocar doctor'
step "demo" inside 'cd /work && /opt/trocar/bin/trocar demo --overwrite && [ -s demo/report.html ] && [ -s demo/overlay.mp4 ]'
step "a compiler (with network)" chroot "$root" /usr/bin/env DEBIAN_FRONTEND=noninteractive /bin/sh -c \
    'apt-get -qq update && apt-get -qq install -y --no-install-recommends g++ make cmake pkg-config'
# shellcheck disable=SC2016
step "a project by find_package" inside '
    cd /work
    bundle=$(find demo -name manifest.json -printf "%h\n" | head -n 1)
    library=$(ls /opt/trocar/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*)
    cmake -S consumer -B build -Dtrocar_DIR="$(/opt/trocar/bin/trocar config --cmake-dir)" \
        -DBUNDLE="$PWD/$bundle" -DONNXRUNTIME="$library"
    cmake --build build
    cd build && ctest --output-on-failure --no-tests=error'
# shellcheck disable=SC2016
step "the C example" inside '
    cd /work
    bundle=$(find demo -name manifest.json -printf "%h\n" | head -n 1)
    export TROCAR_ONNXRUNTIME=$(ls /opt/trocar/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*)
    export LD_LIBRARY_PATH=$(dirname "$(/opt/trocar/bin/trocar config --library)")
    /opt/trocar/bin/python -c "import av, pathlib; f = next(av.open(\"demo/overlay.mp4\").decode(video=0)).to_ndarray(format=\"rgb24\"); \
pathlib.Path(\"f.ppm\").write_bytes(b\"P6 %d %d 255\n\" % (f.shape[1], f.shape[0]) + f.tobytes())"
    gcc -o one_image one_image.c $(PKG_CONFIG_PATH=$(/opt/trocar/bin/trocar config --pkg-config) pkg-config --cflags --libs trocar)
    ./one_image "$bundle" f.ppm'
printf '%s\n' "${lines[@]}"
echo "installed offline in an empty Debian $suite: all steps passed"
