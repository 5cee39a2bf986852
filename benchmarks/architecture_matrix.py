"""Every architecture with every family of encoders: two steps, export, gate, three runtimes.

    python benchmarks/architecture_matrix.py --library libtrocar.so --results benchmarks/results

    python benchmarks/architecture_matrix.py --engines --results benchmarks/results

Random weights, small frames. A cell says how many labels ONNX Runtime, OpenVINO and libtrocar have
equal to PyTorch, or why the combination is refused. Cells that ``--results`` has are not repeated;
``--again`` repeats them. libtrocar needs TROCAR_ONNXRUNTIME, see its README. ``--engines`` builds
an engine of TensorRT for RTX for the known cells that have none; no GPU is needed, none is run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import torch
from helpers.matrix.cells import run_cell, run_engine

FAMILIES = {
    "mobile CNN": "tu-lcnet_050",
    "ResNet": "resnet18",
    "ConvNeXt V2": "tu-convnextv2_atto",
    "CAFormer": "tu-caformer_s18",
    "PVTv2": "tu-pvt_v2_b0",
    "MiT": "mit_b0",
    "HGNetV2": "tu-hgnetv2_b0",
    "plain ViT": "tu-vit_tiny_patch16_224",
    "DINOv3 ViT": "tu-vit_small_patch16_dinov3",
}
ARCHITECTURES = (
    *("deeplabv3plus", "unet", "fpn", "upernet", "segformer", "dpt"),
    *("unetplusplus", "manet", "linknet", "pspnet", "pan", "deeplabv3"),
)


def cell(result: dict[str, Any] | None) -> str:
    """A cell of the table."""
    if result is None:
        return "not run"
    if "refused" in result:
        return "refused"
    if "failed" in result:
        return f"**fails: {result['failed']}**"
    shares = list(result["equal"].values())
    built = "megabytes" in result.get("engine", {})
    return ("equal" if min(shares) == 100 else f"{min(shares):.3f} %") + (", RTX" if built else "")


def table(results: dict[str, Any], *, size: tuple[int, int], library: bool) -> str:
    """All cells as Markdown."""
    runtimes = "ONNX Runtime, OpenVINO" + (" and libtrocar" if library else "")
    lines = [
        "# Architectures and families of encoders",
        "",
        f"Written by `benchmarks/architecture_matrix.py`: random weights, {size[1]}x{size[0]}, two "
        "training steps,",
        f"export through the parity gate, then {runtimes} on frames of another seed. *equal*:",
        "all labels of all runtimes are PyTorch's. A percentage is the smallest share. *RTX*: "
        "TensorRT for RTX",
        f"builds an engine of it; no engine was run. Torch {torch.__version__}.",
        "",
        f"| architecture | {' | '.join(FAMILIES)} |",
        "| --- " * (len(FAMILIES) + 1) + "|",
        f"| | {' | '.join(f'`{one}`' for one in FAMILIES.values())} |",
    ]
    for name in ARCHITECTURES:
        found = [results.get(f"{name} {encoder}") for encoder in FAMILIES.values()]
        lines.append(f"| {name} | {' | '.join(map(cell, found))} |")
    said = {}
    for key, result in results.items():
        for kind in ("refused", "why"):
            if kind in result:
                said.setdefault(result[kind].split(": ")[-1][:200], []).append(key)
    lines += ["", "Refused or failed:", ""]
    for key, result in results.items():
        if "why" in result.get("engine", {}):
            said.setdefault(f"no RTX engine: {result['engine']['why']}", []).append(key)
    for reason, keys in said.items():
        lines += textwrap.wrap(f"- {', '.join(keys)}: {reason}", 118, subsequent_indent="  ")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Examine architectures with encoders.")
    parser.add_argument("--library", help="libtrocar.so; without it two runtimes are examined")
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--engines", action="store_true", help="build engines of known cells")
    parser.add_argument("--again", action="store_true", help="repeat cells that are known")
    parser.add_argument("--results", type=Path, help="folder of architecture_matrix.json and .md")
    args = parser.parse_args()
    size = (64, 64)
    file = args.results / "architecture_matrix.json" if args.results else None
    known = json.loads(file.read_text("utf-8")) if file is not None and file.is_file() else {}
    with tempfile.TemporaryDirectory() as work:
        for architecture, family in itertools.product(args.architectures, args.families):
            encoder = FAMILIES[family]
            key = f"{architecture} {encoder}"
            if args.engines:
                if "equal" not in known.get(key, {}) or "engine" in known[key]:
                    continue
                known[key]["engine"] = run_engine(architecture, encoder, size=size)
            elif key in known and not args.again:
                continue
            else:
                known[key] = run_cell(
                    architecture, encoder, size=size, work=Path(work), library=args.library
                )
            print(key, known[key], flush=True)
            if file is not None:
                file.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    text = table(known, size=size, library=args.library is not None)
    if args.results:
        (args.results / "architecture_matrix.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
