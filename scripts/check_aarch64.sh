#!/usr/bin/env bash
# Builds libtrocar for 64-bit Arm on another machine, runs its tests under emulation (qemu-user), and compares what it
# says of frames with this machine: label maps byte by byte, instruments to the last bit.
#
#     scripts/check_aarch64.sh [BUNDLE…]          default: two tiny bundles that it makes
#
# Needs Debian's g++-aarch64-linux-gnu and qemu-user-static (or qemu-user), cmake, ninja or make, .venv of this checkout, and
# a package index for ONNX Runtime's wheel for Arm. Works in build/aarch64 (the variable AARCH64 names another folder). The
# exit code is 0 when all tests passed and every label map was equal; instruments that differ are counted and told.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m "${AARCH64:-$here/build/aarch64}")
python=$here/.venv/bin/python
export PYTHONPATH=$here:$here/tests/support
qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64 || true)
if [ -z "$qemu" ] || ! command -v aarch64-linux-gnu-g++ >/dev/null; then
    echo "not run: there is no cross compiler or no qemu here (apt-get install g++-aarch64-linux-gnu qemu-user-static)"
    exit 2
fi
mkdir -p "$out"
log=$out/log.txt
: >"$log"
# quiet COMMAND…: its output is shown only if it fails.
quiet() {
    echo "+ $*" >>"$log"
    "$@" >>"$log" 2>&1 || { tail -n 40 "$log"; echo "FAILED: $*, see $log"; exit 1; }
}

# ONNX Runtime reads the processor from /proc and /sys when it is loaded, and crashes on those of another kind. qemu
# looks into this folder first.
prefix=$out/prefix
cpu=$prefix/sys/devices/system/cpu
rm -rf "$prefix"
mkdir -p "$prefix/proc" "$cpu/cpu0/topology" "$cpu/cpu0/cache"
ln -s /usr/aarch64-linux-gnu/lib "$prefix/lib"
printf 'processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: %s\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\n%s\n' \
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm" \
    $'CPU part\t: 0xd0c\nCPU revision\t: 1\n' >"$prefix/proc/cpuinfo"
for file in possible present online kernel_max cpu0/topology/core_id cpu0/topology/physical_package_id; do
    echo 0 >"$cpu/$file"
done
emulated=("$qemu" -cpu neoverse-n1 -L "$prefix")

# The wheels of one release of ONNX Runtime, for both machines.
version=$("$python" -c "import onnxruntime; print(onnxruntime.__version__)")
here_library=$("$python" -c "import onnxruntime, pathlib
print(sorted(pathlib.Path(onnxruntime.__file__).parent.glob('capi/libonnxruntime.so.*'))[0])")
if ! compgen -G "$out/onnxruntime/capi/libonnxruntime.so.*" >/dev/null; then
    quiet "$python" -m pip download --quiet --no-deps --only-binary=:all: --platform manylinux_2_28_aarch64 \
        --platform manylinux_2_27_aarch64 --python-version 3.11 -d "$out/wheels" "onnxruntime==$version"
    quiet "$python" -m zipfile -e "$(ls "$out"/wheels/onnxruntime-*aarch64.whl)" "$out"
fi
arm_library=$(ls "$out"/onnxruntime/capi/libonnxruntime.so.*)

# The bundle that the tests know, as in runtime/cpp/test.sh.
rm -rf "$out/tests.trocar"
quiet "$python" -c "import sys
from tiny_bundle import make_tiny_bundle
make_tiny_bundle(sys.argv[1])" "$out/tests.trocar"

# Pictures: the golden frame of each bundle, and the same frame mirrored, brighter and smaller.
bundles=("$@")
if [ ${#bundles[@]} -eq 0 ]; then
    rm -rf "$out/two.trocar" "$out/six.trocar"
    quiet "$python" -c "import sys
from tiny_bundle import make_tiny_bundle
make_tiny_bundle(sys.argv[1] + '/two.trocar', classes=2)
make_tiny_bundle(sys.argv[1] + '/six.trocar', height=96, width=128, classes=6)" "$out"
    bundles=("$out/two.trocar" "$out/six.trocar")
fi
for i in "${!bundles[@]}"; do
    rm -rf "$out/frames-$i"
    quiet "$python" - "${bundles[$i]}" "$out/frames-$i" <<'PYTHON'
import io, sys
from pathlib import Path

import numpy as np

from trocar.contract.bundle import GOLDEN, open_bundle

out = Path(sys.argv[2])
out.mkdir()
golden = np.load(io.BytesIO(open_bundle(Path(sys.argv[1])).read(GOLDEN)))["frame"]
brighter = np.clip(golden.astype(np.int16) + 20, 0, 255).astype(np.uint8)
for number, frame in enumerate((golden, golden[:, ::-1], golden[::-1], brighter, golden[::2, ::2])):
    height, width = frame.shape[:2]
    data = b"P6 %d %d 255\n" % (width, height) + np.ascontiguousarray(frame).tobytes()
    (out / f"{number}.ppm").write_bytes(data)
PYTHON
done

generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
common=(-DTROCAR_WERROR=ON -DTROCAR_GSTREAMER=OFF -DCMAKE_BUILD_TYPE=Release)
quiet cmake -S "$here/runtime/cpp" -B "$out/x86" "${generator[@]}" "${common[@]}"
quiet cmake --build "$out/x86" --parallel "${JOBS:-$(nproc)}" --target trocar_shared dump
quiet cmake -S "$here/runtime/cpp" -B "$out/arm" "${generator[@]}" "${common[@]}" -DTROCAR_SOAK_FRAMES=300 \
    "-DCMAKE_TOOLCHAIN_FILE=$here/runtime/cpp/cmake/aarch64-linux-gnu.cmake" \
    "-DCMAKE_CROSSCOMPILING_EMULATOR=$(IFS=';'; echo "${emulated[*]}")" \
    "-DTROCAR_TEST_ONNXRUNTIME=$arm_library" "-DTROCAR_TEST_BUNDLE=$out/tests.trocar"
quiet cmake --build "$out/arm" --parallel "${JOBS:-$(nproc)}"
echo "built with $(aarch64-linux-gnu-g++ -dumpfullversion), ONNX Runtime $version, $("$qemu" --version | head -n 1)"

# Valgrind, the consumer's builds and the symbols are of this machine; the allocation counter stands in malloc's place.
quiet ctest --test-dir "$out/arm" --output-on-failure --no-tests=error --timeout 900 \
    -E '^(valgrind_.*|consumer|symbols|headers_documented)$'
echo "tests under emulation: $(grep -E 'tests passed' "$log" | tail -n 1)"

failed=0
for i in "${!bundles[@]}"; do
    frames=("$out/frames-$i"/*.ppm)
    "$out/x86/tests/dump" "${bundles[$i]}" "$here_library" "$out/x86-$i.labels" "${frames[@]}" >"$out/x86-$i.txt"
    "${emulated[@]}" "$out/arm/tests/dump" "${bundles[$i]}" "$arm_library" "$out/arm-$i.labels" \
        "${frames[@]}" >"$out/arm-$i.txt"
    "$python" - "${bundles[$i]}" "$out/x86-$i" "$out/arm-$i" <<'PYTHON' || failed=1
import sys
from pathlib import Path

name, *stems = sys.argv[1:]
here, there = (Path(stem + ".labels").read_bytes() for stem in stems)
lines = [Path(stem + ".txt").read_text().splitlines() for stem in stems]
differ = sum(a != b for a, b in zip(here, there)) + abs(len(here) - len(there))
rows = sum(a != b for a, b in zip(*lines)) + abs(len(lines[0]) - len(lines[1]))
print(f"{Path(name).name}: {differ} of {len(here)} label pixels differ, {rows} of {len(lines[0])} lines")
sys.exit(differ > 0 or not here)
PYTHON
done
[ $failed = 0 ] && echo "aarch64: all label maps are equal to those of $(uname -m)"
exit $failed
