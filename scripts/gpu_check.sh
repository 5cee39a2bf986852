#!/usr/bin/env bash
# Checks everything that needs an NVIDIA GPU, in stages, offline.
#
#     scripts/gpu_check.sh                       all stages
#     scripts/gpu_check.sh --stages 0,7,8        some of them, by number or name
#     scripts/gpu_check.sh --list                the stages with their limits in seconds
#
# Variables: GPU_CHECK_OUT is the folder of report.json and of one log a stage (default: build/gpu_check); GPU_PACK is
# the folder that scripts/gpu_pack.sh made (its wheels, kernels and bundle are used); PYTHON is the interpreter.
# Each stage ends with one line in report.json: number, name, state, seconds, detail. States: passed, failed, late (above
# its limit), absent (its GPU or its tool is not there). The exit code is the number of stages that failed or were late.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=${GPU_CHECK_OUT:-$root/build/gpu_check}
stages=(environment kernels sanitizer repeat capture speed counters onnxruntime tensorrt live training processes)
limits=(60 120 150 40 40 60 60 60 100 80 80 40)
wanted=("${stages[@]}")
while [ $# -gt 0 ]; do
    case $1 in
    --stages) IFS=, read -ra wanted <<<"${2:-}"; shift 2 ;;
    --list)
        for i in "${!stages[@]}"; do echo "$i ${stages[$i]} ${limits[$i]}"; done
        exit 0
        ;;
    *) echo "unknown argument $1; see the head of $0" >&2; exit 64 ;;
    esac
done
python=${PYTHON:-$([ -x "$root/.venv/bin/python" ] && echo "$root/.venv/bin/python" || command -v python3)}
mkdir -p "$out"
export PYTHONPATH=$root:$root/tests/support TROCAR_CACHE=${GPU_PACK:-$out}/cache GPU_CHECK_OUT=$out
: >"$out/report.json"
failed=0
for i in "${!stages[@]}"; do
    name=${stages[$i]}
    [[ " ${wanted[*]} " == *" $name "* || " ${wanted[*]} " == *" $i "* ]] || continue
    log="$out/$i-$name.log"
    started=$(date +%s.%N)
    timeout --kill-after 5 "${limits[$i]}" "$python" "$root/scripts/gpu_stages.py" "$name" >"$log" 2>&1
    code=$?
    case $code in
    0) state=passed ;;
    77) state=absent ;;
    124 | 137) state=late ;;
    *) state=failed ;;
    esac
    [ "$state" = failed ] || [ "$state" = late ] && failed=$((failed + 1))
    "$python" - "$i" "$name" "$state" "$started" "$log" >>"$out/report.json" <<'PYTHON'
import json, pathlib, sys, time
number, name, state, started, log = sys.argv[1:]
lines = pathlib.Path(log).read_text(errors="replace").strip().splitlines()
row = {"stage": int(number), "name": name, "state": state, "seconds": round(time.time() - float(started), 1)}
print(json.dumps({**row, "detail": lines[-1][:500] if lines else ""}))
PYTHON
    tail -n 1 "$out/report.json"
done
for name in "${wanted[@]}"; do
    if ! [[ " ${stages[*]} ${!stages[*]} " == *" $name "* ]]; then
        echo "there is no stage $name; --list names them" >&2
        failed=$((failed + 1))
    fi
done
exit $failed
