#!/usr/bin/env bash
# Builds libtrocar in Release and under the sanitizers, and runs every test of it.
#
#     runtime/cpp/test.sh            (from anywhere; uses .venv of the checkout where there is one)
#
# Needs cmake, g++ and, for the tests against the real library, the project's Python environment.
# What is not there is left out and said: valgrind, doxygen, clang with libFuzzer, clang-format,
# and headers of TensorRT:
#
#     TROCAR_TENSORRT_HEADERS=/folder/of/10:/folder/of/11 runtime/cpp/test.sh
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
[ -d "$root/.venv/bin" ] && PATH="$root/.venv/bin:$PATH"
for tool in cmake g++ python3; do
    if ! command -v "$tool" >/dev/null; then
        echo "C++: not run, there is no $tool here"
        exit 1
    fi
done
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
jobs=$(nproc)
started=$SECONDS
summary=()
failed=0

# The real library and a bundle for it; without them the stand-in library does the work alone.
real=()
mkdir -p "$here/build"
bundle="$here/build/tiny.trocar"
if library=$(cd "$root" && python3 - "$bundle" <<'PYTHON'
import importlib.util, pathlib, shutil, sys
import onnxruntime
spec = importlib.util.spec_from_file_location("tiny_bundle", "tests/support/tiny_bundle.py")
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)
shutil.rmtree(sys.argv[1], ignore_errors=True)
tiny.make_tiny_bundle(sys.argv[1])
capi = pathlib.Path(onnxruntime.__file__).parent / "capi"
print(sorted(capi.glob("libonnxruntime.so*"))[0])
PYTHON
); then
    real=("-DTROCAR_TEST_ONNXRUNTIME=$library" "-DTROCAR_TEST_BUNDLE=$bundle")
else
    echo "C++: no ONNX Runtime for Python here, the tests against the real library are left out"
fi

# build NAME FOLDER CTEST_PATTERN OPTIONS…
build() {
    local name=$1 folder="$here/$2" pattern=$3 log
    shift 3
    log="$folder/log.txt"
    mkdir -p "$folder"
    [ -f "$folder/CMakeCache.txt" ] && generator_here=() || generator_here=("${generator[@]}")
    if ! { cmake -S "$here" -B "$folder" "${generator_here[@]}" -DTROCAR_WERROR=ON "${real[@]}" "$@" &&
           cmake --build "$folder" -j "$jobs"; } >"$log" 2>&1; then
        tail -n 40 "$log"
        summary+=("$name: does not build")
        failed=1
        return
    fi
    if ctest --test-dir "$folder" --parallel "$jobs" --output-on-failure --no-tests=error --timeout 300 -R "$pattern" >"$log" 2>&1; then
        summary+=("$name: $(grep -cE ' Passed +[0-9.]+ sec$' "$log") passed")
    else
        tail -n 60 "$log"
        summary+=("$name: failed")
        failed=1
    fi
}

build Release build . -DCMAKE_BUILD_TYPE=Release -DTROCAR_SANITIZE=
# Only what the tests need, at the optimisation that compiles quickly.
build "address and undefined" build-asan . -DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" \
    -DTROCAR_SANITIZE=address,undefined -DTROCAR_EXAMPLES=OFF -DTROCAR_SOAK_FRAMES=2000
build thread build-tsan '^(session|threads|live)$' -DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" \
    -DTROCAR_SANITIZE=thread -DTROCAR_EXAMPLES=OFF -DTROCAR_SOAK_FRAMES=2000 -DTROCAR_ALL_TESTS=OFF

# The native TensorRT backend, against each set of headers that was given; they are not in any
# package that this project needs, and declarations of our own could not stand for them.
cuda=$(cd "$root" && python3 - <<'PYTHON'
import glob, importlib.util, os
triton = importlib.util.find_spec("triton")
places = ["/usr/local/cuda/include", *sorted(glob.glob("/usr/local/cuda-*/include"))]
if triton is not None and triton.origin:
    places.append(os.path.join(os.path.dirname(triton.origin), "backends/nvidia/include"))
print(next((p for p in places if os.path.exists(p + "/crt/host_defines.h")), ""))
PYTHON
)
IFS=: read -ra headers <<<"${TROCAR_TENSORRT_HEADERS:-}"
for i in "${!headers[@]}"; do
    build "TensorRT from ${headers[$i]}" "build-tensorrt-$i" '^(tensorrt|engine|session)$' -DCMAKE_BUILD_TYPE=Debug \
        "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" -DTROCAR_SANITIZE=address,undefined -DTROCAR_EXAMPLES=OFF \
        "-DTROCAR_TENSORRT_INCLUDE=${headers[$i]}" "-DTROCAR_CUDA_INCLUDE=${TROCAR_CUDA_HEADERS:-$cuda}"
done
# TensorRT for RTX is the same code by another name of the library.
[ ${#headers[@]} -eq 0 ] ||
    build "TensorRT for RTX from ${headers[-1]}" build-tensorrt-rtx '^tensorrt$' -DCMAKE_BUILD_TYPE=Debug \
        "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" -DTROCAR_EXAMPLES=OFF -DTROCAR_TENSORRT_FLAVOUR=tensorrt-rtx \
        "-DTROCAR_TENSORRT_INCLUDE=${headers[-1]}" "-DTROCAR_CUDA_INCLUDE=${TROCAR_CUDA_HEADERS:-$cuda}"
[ ${#headers[@]} -gt 0 ] || summary+=("TensorRT's own headers: not run, TROCAR_TENSORRT_HEADERS names none")

# Guided fuzzing needs clang; the driver that all builds run needs none.
clangxx=$(compgen -c clang++ | grep -E '^clang\+\+(-[0-9]+)?$' | sort -V | tail -n 1)
if [ -n "$clangxx" ] && echo 'extern "C" int LLVMFuzzerTestOneInput(const char *, long) { return 0; }' |
    "$clangxx" -fsanitize=fuzzer -x c++ - -o /dev/null 2>/dev/null; then
    build libFuzzer build-fuzz . "-DCMAKE_C_COMPILER=${clangxx/++/}" "-DCMAKE_CXX_COMPILER=$clangxx" \
        -DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" -DTROCAR_EXAMPLES=OFF \
        -DTROCAR_LIBFUZZER=ON -DTROCAR_SANITIZE=address,undefined,fuzzer-no-link
else
    summary+=("libFuzzer: not run, there is no clang with it")
fi
for tool in valgrind doxygen; do
    command -v "$tool" >/dev/null || summary+=("$tool: not run, it is not installed")
done
# The headers for C are set by hand: their comments are tables.
if ! command -v clang-format >/dev/null; then
    summary+=("clang-format: not run, it is not installed")
elif ! find "$here"/{src,include,tests,examples,gstreamer} "$root/benchmarks" \( -name '*.[ch]' -o -name '*.[ch]pp' \) \
    ! -path '*/include/trocar/*.h' -print0 | xargs -0 clang-format "--style=file:$here/.clang-format" --dry-run -Werror \
    >"$here/build/format.txt" 2>&1; then
    head -n 20 "$here/build/format.txt"
    summary+=("clang-format: failed")
    failed=1
fi

text=$(printf '%s; ' "${summary[@]}")
echo "C++: ${text%; } ($((SECONDS - started)) s)"
exit $failed
