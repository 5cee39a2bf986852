#!/usr/bin/env bash
# Installs the lowest version of each package that setup.py allows, each in an environment of its own, and
# runs the tests of the runtime on it.
#
#     scripts/check_floors.sh                    every package of a plain installation (hours: for the night)
#     scripts/check_floors.sh av onnxruntime-gpu only these
#
# Needs python3 and a package index. Writes one line a package, "ok", "failed" or "not installed", and a log of each in
# the folder of the variable FLOORS (default: build/floors). The exit code is the number of packages that failed.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=${FLOORS:-$root/build/floors}
python=${PYTHON:-python3}
mkdir -p "$out"
# What the tests need beside the runtime.
tools=(onnx pytest pytest-randomly pytest-timeout hypothesis packaging setuptools)
# None of these needs torch.
tests=(tests/runtime/backends tests/runtime/sources tests/runtime/sinks tests/runtime/test_session.py)

# requirements ["package"]: all of a plain installation as pip takes them; those of the package replaced by its floor.
requirements() {
    "$python" - "$root" "${1:-}" <<'PYTHON'
import os, re, sys
root, floor = sys.argv[1:]
os.chdir(root)
import setuptools
lists = {}
setuptools.setup = lambda **values: lists.update(values)
exec(compile(open("setup.py", encoding="utf-8").read(), "setup.py", "exec"))
for line in lists["install_requires"]:
    needed, _, marker = line.partition(";")
    name, low = re.match(r"\s*([\w.-]+)(?:\[[^\]]*\])?>=([\w.]+)", needed).groups()
    if not floor:
        print(name)
    elif name == floor:
        print(f"{name}=={low};{marker}" if marker else f"{name}=={low}")
    else:
        print(line)
PYTHON
}

[ $# -gt 0 ] && packages=("$@") || mapfile -t packages < <(requirements | sort -u)
failed=0
for package in "${packages[@]}"; do
    started=$SECONDS
    log="$out/$package.log"
    folder=$(mktemp -d)
    requirements "$package" >"$folder/requirements.txt"
    wanted=$(grep -i "^$package==" "$folder/requirements.txt" | sed 's/;.*//' | paste -sd ' ')
    # The tested versions of all other packages; what they do not fit is left to pip.
    grep -iv "^$package\b" "$root/constraints.txt" >"$folder/constraints.txt"
    if [ -z "$wanted" ]; then
        state="failed: setup.py requires no $package"
    elif ! { "$python" -m venv "$folder/venv" &&
             { "$folder/venv/bin/pip" install -q -r "$folder/requirements.txt" "${tools[@]}" -c "$folder/constraints.txt" ||
               "$folder/venv/bin/pip" install -q -r "$folder/requirements.txt" "${tools[@]}"; }; } >"$log" 2>&1; then
        state="not installed"
    elif (cd "$root" && PYTHONPATH=$root "$folder/venv/bin/python" -m pytest -q --timeout 600 "${tests[@]}") >>"$log" 2>&1; then
        state="ok: $(tail -n 1 "$log")"
    else
        state="failed: $(tail -n 1 "$log")"
    fi
    echo "$package ($wanted): $state ($((SECONDS - started)) s, $log)"
    [ "${state:0:2}" = ok ] || failed=$((failed + 1))
    rm -rf "$folder"
done
exit $failed
