"""The table of benchmarks/precision.py.

CONFIGURATIONS["openvino bf16"]  # ("fp32", "bf16", "bfloat16 on OpenVINO")
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

CONFIGURATIONS = {
    "onnxruntime fp32": ("fp32", "fp32", "float32 on ONNX Runtime"),
    "onnxruntime fp16": ("fp16", "fp16", "float16 on ONNX Runtime"),
    "onnxruntime int8": ("int8", "int8", "int8, cpu recipe, on ONNX Runtime"),
    "openvino fp32": ("fp32", "fp32", "float32 on OpenVINO"),
    "openvino bf16": ("fp32", "bf16", "bfloat16 on OpenVINO"),
    "openvino int8": ("int8", "int8", "int8, cpu recipe, on OpenVINO"),
}
"""Configurations that are compared: bundle, precision of the backend, and title."""


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    given, rows, times = found["arguments"], found["rows"], found["milliseconds"]
    base = times["onnxruntime fp32"]
    out = [
        f"# DeepLabV3+ {given['encoder']}, {given['size']}",
        "",
        f"{found['cpu']}, {found['threads']} threads; medians of {found['rounds']} interleaved "
        "rounds of one frame, each after one of the same model that does not count. "
        f"Trained for {given['steps']} steps on phantom scenes. Agreement "
        "with float32 on ONNX Runtime, on frames not used in training or calibration; IoU and "
        "boundary F-score are those of the worst foreground class. The gate's verdict is by its "
        "default limits.",
        "",
        "| how | MB | float32 layers | ms | times as fast | " + " | ".join(_HEADS) + " |",
        "| --- | --: | --: | --: | --: |" + " --- |" * len(_HEADS),
    ]
    notes = []
    for name, (_, _, title) in CONFIGURATIONS.items():
        row = rows[name]
        kept, layers = row["float32_layers"]
        cells = [f"{row['bytes'] / 1e6:.1f}", f"{kept} of {layers}" if layers else "all"]
        cells += [f"{times[name]:.0f}", f"{base / times[name]:.2f}"]
        for kind in ("phantom", "real"):
            one = row.get(kind)
            if one is None:
                cells += ["not run"] * 4
                continue
            cells += [f"{one['equal']:.3%}", _share(one["iou"]), _share(one["boundary_f"])]
            cells.append("refuses" if one["faults"] else "passes")
            notes += [f"- {title}, {kind}: {fault}" for fault in one["faults"]]
        if row["refused"]:
            notes.append(f"- {title}: the export refuses it: {row['refused']}")
        out.append(f"| {title} | " + " | ".join(cells) + " |")
    truth = {w: rows[w]["phantom"]["truth"] for w in CONFIGURATIONS if rows[w]["phantom"]["truth"]}
    whole = next(iter(truth.values()))["reference"]
    told = ", ".join(f"{CONFIGURATIONS[w][2]} {t['candidate']:.4f}" for w, t in truth.items())
    out += [
        "",
        f"Mean IoU against the phantoms' ground truth, where float32 has {whole:.4f}: {told}.",
    ]
    if notes:
        out += ["", "Where the gate refuses:", "", *notes]
    return "\n".join(out) + "\n"


_HEADS = [
    f"{kind}: {what}"
    for kind in ("phantom", "real")
    for what in ("equal pixels", "IoU", "boundary F", "gate")
]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def cpu() -> str:
    """The processor's name, the cores in use and what it has for reduced precision."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="ignore")
    pairs = (line.partition(":") for line in text.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    wanted = ("avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    there = [flag for flag in wanted if flag in fields.get("flags", "").split()]
    name = f"{fields.get('model name', 'CPU')} (family {fields.get('cpu family')}, "
    name += f"model {fields.get('model')}), {len(os.sched_getaffinity(0))} cores"
    return f"{name}, {', '.join(there) or 'neither bfloat16 nor VNNI'}"
