#!/usr/bin/env bash
# Builds libtrocar in Release and under the sanitizers, and runs every test of it.
#
#     runtime/cpp/test.sh            (from anywhere; uses .venv of the checkout where there is one)
#
# Needs cmake, g++ and, for the tests against the real library, the project's Python environment.
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
    if ctest --test-dir "$folder" --output-on-failure --no-tests=error --timeout 300 -R "$pattern" >"$log" 2>&1; then
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
build thread build-tsan '^(session|threads)$' -DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" \
    -DTROCAR_SANITIZE=thread -DTROCAR_EXAMPLES=OFF -DTROCAR_SOAK_FRAMES=2000 -DTROCAR_ALL_TESTS=OFF

text=$(printf '%s; ' "${summary[@]}")
echo "C++: ${text%; } ($((SECONDS - started)) s)"
exit $failed
