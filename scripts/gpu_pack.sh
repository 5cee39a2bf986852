#!/usr/bin/env bash
# Prepares on a CPU machine what scripts/gpu_check.sh needs on a machine with a GPU and without a network.
#
#     scripts/gpu_pack.sh FOLDER [--bundle model.trocar] [--no-wheels] [--architecture sm_90,sm_100]
#
# Makes FOLDER/cache (compiled kernels), FOLDER/bundle.trocar (with its golden frame; without --bundle a tiny one) and
# FOLDER/wheels for Python 3.12 (of the variable PYTHON_VERSION). There:
#
#     pip install --no-index --find-links FOLDER/wheels 'trocar[gpu]' pytest pytest-timeout pytest-randomly hypothesis onnx
#     GPU_PACK=FOLDER scripts/gpu_check.sh
#
# Torch and TensorRT are not packed: their wheels are of one CUDA version, and TensorRT's lie in NVIDIA's own index.
# Without them the stages that need them are absent.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
[ $# -ge 1 ] || { sed -n '2,15p' "$0" >&2; exit 64; }
folder=$1
shift
bundle=
wheels=1
architectures=sm_80,sm_89,sm_90,sm_100,sm_120
while [ $# -gt 0 ]; do
    case $1 in
    --bundle) bundle=$2; shift 2 ;;
    --no-wheels) wheels=0; shift ;;
    --architecture) architectures=$2; shift 2 ;;
    *) echo "unknown argument $1; see the head of $0" >&2; exit 64 ;;
    esac
done
python=${PYTHON:-$([ -x "$root/.venv/bin/python" ] && echo "$root/.venv/bin/python" || command -v python3)}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
export PYTHONPATH=$root:$root/tests/support TROCAR_CACHE=$folder/cache
"$python" - "$folder" "$bundle" "$architectures" <<'PYTHON'
import shutil, sys
from pathlib import Path
from trocar.contract.bundle import open_bundle
from trocar.cuda_kernels.build import CONFIGURATIONS
from trocar.cuda_kernels.compilation.cache import cached_binary
from trocar.cuda_kernels.compilation.sources import supports
folder, bundle, architectures = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
target = folder / "bundle.trocar"
shutil.rmtree(target, ignore_errors=True)
if bundle:
    open_bundle(Path(bundle))
    shutil.copytree(bundle, target)
else:
    from tiny_bundle import make_tiny_bundle
    make_tiny_bundle(target, height=512, width=640)
count = 0
for architecture in architectures:
    for file, defines in CONFIGURATIONS:
        if supports(file, architecture):
            cached_binary(file, defines, architecture)
            count += 1
print(f"{count} kernel binaries, {target.name}")
PYTHON
if [ $wheels = 1 ]; then
    version=${PYTHON_VERSION:-3.12}
    rm -f "$folder"/wheels/trocar-*.whl
    "$python" -m pip wheel -q --no-deps -w "$folder/wheels" "$root"
    wheel=$(echo "$folder"/wheels/trocar-*.whl)
    # What Trocar needs is asked of its own wheel.
    "$python" -m pip download -q -d "$folder/wheels" --python-version "$version" --only-binary :all: \
        "trocar[gpu] @ file://$wheel" onnx pytest pytest-timeout pytest-randomly hypothesis
fi
du -sh "$folder"
