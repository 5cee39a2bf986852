#!/usr/bin/env bash
# Makes .venv with Trocar installed in place. Usage: scripts/setup_venv.sh EXTRAS   (e.g. dev)
# Does nothing when that has been done for the same setup.py, constraints.txt and extras.
set -euo pipefail
cd "$(dirname "$0")/.."
extras=${1:?extras, for example dev}

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "Trocar needs Python 3.10 or newer; '$python' is not. Set PYTHON=/path/to/python3." >&2
    exit 1
fi
stamp=".venv/.trocar-$(cat setup.py constraints.txt | cksum | tr ' ' '-')-${extras//,/-}"
[ -e "$stamp" ] && exit 0

if ! [ -x .venv/bin/python ]; then
    echo "Making .venv …"
    if ! "$python" -m venv .venv 2>/tmp/trocar-venv.$$; then
        rm -rf .venv
        scripts/system_packages.sh python3-venv
        "$python" -m venv .venv || { cat /tmp/trocar-venv.$$ >&2; rm -f /tmp/trocar-venv.$$; exit 1; }
    fi
    rm -f /tmp/trocar-venv.$$
fi
# The two wheels of ONNX Runtime overwrite each other's files: one of them stays.
installed() { compgen -G ".venv/lib/python*/site-packages/$1-[0-9]*.dist-info" >/dev/null; }
if installed onnxruntime_gpu; then
    extras=$(tr ',' '\n' <<<"$extras" | grep -vx cpu | paste -sd ',')
elif installed onnxruntime && [[ ",$extras," == *,dev,* || ",$extras," == *,gpu,* ]]; then
    .venv/bin/python -m pip uninstall --quiet --yes onnxruntime
fi
echo "Installing Trocar and what it needs (about 3 GB, some minutes) …"
# pip would compile 17,000 files (a minute and more), of which a tenth is ever imported. Python compiles
# those at their first import, unless it is told to keep no bytecode.
bytecode=(--no-compile)
[ -n "${PYTHONDONTWRITEBYTECODE:-}" ] && bytecode=()
.venv/bin/python -m pip install --quiet --disable-pip-version-check "${bytecode[@]}" -c constraints.txt -e ".[$extras]" \
    2> >(grep -v 'is ignored: it is neither a file nor a directory' >&2)
touch "$stamp"
