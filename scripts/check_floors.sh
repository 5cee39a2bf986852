#!/usr/bin/env bash
# Installs the lowest version of each package that setup.py allows the runtime, each in an environment of its own
# beside the tested versions of all others, and runs the tests of the runtime on it. Then all lowest versions at once.
#
#     scripts/check_floors.sh                         every package, then all together (an hour: for the night)
#     scripts/check_floors.sh av onnxruntime-gpu all  only these; "all" is all together
#
# Needs python3 and a package index. Writes one line a package, "ok", "failed" or "not installed", a log of each and the
# table floors.md in the folder of the variable FLOORS (default: build/floors). TESTS names other tests. The exit code
# is the number of packages that failed.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=${FLOORS:-$root/build/floors}
python=${PYTHON:-python3}
mkdir -p "$out"
# What the tests need beside the runtime.
tools=(onnx pillow pytest pytest-randomly pytest-timeout hypothesis packaging setuptools)
# None of these needs torch.
read -ra tests <<<"${TESTS:-tests/runtime/backends tests/runtime/sources tests/runtime/sinks tests/runtime/test_session.py}"

# requirements [PACKAGE]: the runtime with its extras as pip takes it; those of PACKAGE, or all, replaced by their floor.
requirements() {
    "$python" - "$root" "${1:-}" <<'PYTHON'
import os, re, sys
root, floor = sys.argv[1:]
os.chdir(root)
from unittest import mock
# Of any age, or none: only the lists are wanted.
setuptools = mock.MagicMock()
for name in ("", ".command", ".command.bdist_wheel", ".command.build", ".dist"):
    sys.modules["setuptools" + name] = setuptools
lists = {}
setuptools.setup = lambda **values: lists.update(values)
exec(compile(open("setup.py", encoding="utf-8").read(), "setup.py", "exec"))
extras = lists["extras_require"]
lines = [*lists["install_requires"], *(line for name in ("igtl", "openvino", "signing") for line in extras[name])]
# Both wheels of ONNX Runtime write the same files.
lines += extras["gpu"][:1] if floor == "onnxruntime-gpu" else extras["cpu"]
for line in lines:
    needed, _, marker = line.partition(";")
    # Its extras are CUDA's libraries, which no test without a GPU loads.
    name, low = re.match(r"\s*([\w.-]+)(?:\[[^\]]*\])?>=([\w.]+)", needed).groups()
    if not floor:
        print(name)
    elif floor in (name, "all"):
        print(f"{name}=={low};{marker}" if marker else f"{name}=={low}")
    else:
        print(line)
PYTHON
}

[ $# -gt 0 ] && packages=("$@") || mapfile -t packages < <(requirements | sort -u; echo onnxruntime-gpu; echo all)
{
    echo "# The lowest versions of setup.py, installed"
    echo
    echo "\`scripts/check_floors.sh ${*}\` on $("$python" --version), $(uname -m), $(date -u +%Y-%m-%d)."
    echo "Tests: ${tests[*]}."
    echo
    echo "| lowest versions | what ran | result |"
    echo "| --- | --- | --- |"
} >"$out/floors.md"
failed=0
for package in "${packages[@]}"; do
    started=$SECONDS
    log="$out/$package.log"
    folder=$(mktemp -d)
    requirements "$package" >"$folder/requirements.txt"
    wanted=$(grep -E "^[A-Za-z0-9._-]+==" "$folder/requirements.txt" | sed 's/;.*//' | paste -sd ' ')
    if [ "$package" = all ]; then
        : >"$folder/constraints.txt"
    else
        # The tested versions of all other packages; what they do not fit is left to pip.
        grep -ivE "^${package//[-_.]/[-_.]}=" "$root/constraints.txt" >"$folder/constraints.txt"
    fi
    ran="nothing"
    if [ -z "$wanted" ]; then
        state="failed: setup.py requires no $package"
    elif ! { "$python" -m venv "$folder/venv" &&
             { "$folder/venv/bin/pip" install -q -r "$folder/requirements.txt" "${tools[@]}" -c "$folder/constraints.txt" ||
               "$folder/venv/bin/pip" install -q -r "$folder/requirements.txt" "${tools[@]}"; }; } >"$log" 2>&1; then
        state="not installed: $(grep -m 1 -i '^error' "$log")"
    else
        "$folder/venv/bin/pip" list --format freeze >>"$log" 2>&1
        ran=$(cd "$folder" && "$folder/venv/bin/python" -c 'import sys; from importlib.metadata import version
print(" ".join(f"{one} {version(one)}" for one in ("numpy", "opencv-python-headless", "av", sys.argv[1])))' \
            "$([ "$package" = onnxruntime-gpu ] && echo onnxruntime-gpu || echo onnxruntime)" 2>>"$log")
        if (cd "$root" && PYTHONPATH=$root "$folder/venv/bin/python" -m pytest -q -p no:cacheprovider --timeout 600 "${tests[@]}") >>"$log" 2>&1; then
            state="ok: $(tail -n 1 "$log")"
        else
            state="failed: $(tail -n 1 "$log")"
        fi
    fi
    echo "$package ($wanted): $state ($((SECONDS - started)) s, $log)"
    echo "| $wanted | $ran | $state |" >>"$out/floors.md"
    [ "${state:0:2}" = ok ] || failed=$((failed + 1))
    rm -rf "$folder"
done
exit $failed
