#!/usr/bin/env bash
# Proves a wheel in a new environment: installs it, runs a bundle, builds C and C++ programs against
# the libtrocar inside it, and runs them from a folder that was moved.
#
#     scripts/check_wheel.sh dist/trocar-0.1.0-py3-none-linux_x86_64.whl [ENVIRONMENT]
#
# ENVIRONMENT: a folder with a virtual environment that has the wheel already. Needs g++, cmake, and
# .venv of this checkout, which makes the tiny bundle.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
wheel=$(realpath "${1:?usage: check_wheel.sh WHEEL [ENVIRONMENT]}")
export PATH="$root/.venv/bin:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
unset PYTHONPATH
environment=${2:-$work/env}
if [ ! -x "$environment/bin/trocar" ]; then
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet -c "$root/constraints.txt" "$wheel[cpu]"
fi
trocar=$environment/bin/trocar
PYTHONPATH=$root:$root/tests/support "$root/.venv/bin/python" - <<'PYTHON'
from numbered_videos import write
from pathlib import Path
from tiny_bundle import make_tiny_bundle

make_tiny_bundle(Path("m.trocar"), height=32, width=40)
write(Path("v.mp4"), range(3))
with Path("f.ppm").open("wb") as file:
    file.write(b"P6 40 32 255\n" + bytes(range(256)) * 15)
PYTHON
"$trocar" --help | grep "config" >log
"$trocar" inspect m.trocar | grep "all hashes correct" >log
"$trocar" run m.trocar v.mp4 --json out.jsonl --threads 1
[ "$(wc -l <out.jsonl)" = 3 ]
"$environment/bin/python" -c "import importlib.util as u; assert u.find_spec('torch') is None"
echo "Python: installed, inspected, ran"

onnxruntime=$(ls "$environment"/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*)
cp -r "$root/runtime/cpp/tests/consumer" consumer
cmake -S consumer -B build -Dtrocar_DIR="$("$trocar" config --cmake-dir)" \
    -DBUNDLE="$work/m.trocar" -DONNXRUNTIME="$onnxruntime" >log 2>&1 || { cat log; exit 1; }
cmake --build build >log 2>&1 || { cat log; exit 1; }
(cd build && ctest --output-on-failure --no-tests=error) >log || { cat log; exit 1; }
grep "tests passed" log

# As if it had been installed elsewhere.
mv_from=$(dirname "$(dirname "$("$trocar" config --library)")")
cp -r "$mv_from" moved
if grep -rq "$mv_from\|$root" moved --include='*.cmake' --include='*.pc'; then
    echo "the package names the folder in which it was built"
    exit 1
fi
export TROCAR_ONNXRUNTIME=$onnxruntime
cmake -S consumer -B again -Dtrocar_DIR="$work/moved/lib/cmake/trocar" >log 2>&1 || { cat log; exit 1; }
if command -v pkg-config >/dev/null; then
    flags=$(PKG_CONFIG_PATH=$work/moved/lib/pkgconfig pkg-config --cflags --libs trocar)
else
    flags="-I$work/moved/include -L$work/moved/lib -ltrocar"
fi
# shellcheck disable=SC2086
gcc -o one_image "$root/runtime/cpp/examples/one_image.c" $flags
LD_LIBRARY_PATH=$work/moved/lib ./one_image m.trocar f.ppm
echo "C: built against a copy of the wheel's library, ran"
