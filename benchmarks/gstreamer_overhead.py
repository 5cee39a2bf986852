"""What the GStreamer element costs over an appsink loop with libtrocar, and whether it leaks.

python benchmarks/gstreamer_overhead.py --bundle model.trocar --frames 10000

Both loops get one picture again and again, through a queue of one frame, in one process and in
turns. The memory is that of the process, after a tenth of the frames and after the last one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from statistics import median

import onnxruntime
from helpers.live.model import deeplab_bundle

ROOT = Path(__file__).resolve().parents[1]
CPP = ROOT / "runtime" / "cpp"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="default: DeepLabV3+ of ResNet-18, 512x640")
    parser.add_argument("--size", default="1920x1080", help="WIDTHxHEIGHT of the frames")
    parser.add_argument("--format", default="NV12", choices=["NV12", "RGB"])
    parser.add_argument("--frames", type=int, default=200, help="of a loop")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    build = build_benchmark()
    with tempfile.TemporaryDirectory() as folder:
        bundle = given.bundle or deeplab_bundle(Path(folder) / "m.trocar", encoder="resnet18")
        print(table(given, measure(given, build, bundle)))


def build_benchmark() -> Path:
    """Builds the library, the element and the program in a folder of their own."""
    build = CPP / "build-gstreamer"
    for command in (
        ["cmake", "-S", str(CPP), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release",
         "-DTROCAR_GSTREAMER=ON", "-DTROCAR_BENCHMARKS=ON", "-DTROCAR_TESTS=OFF",
         "-DTROCAR_EXAMPLES=OFF"],
        ["cmake", "--build", str(build), "--target", "gstreamer_overhead", "gsttrocar"],
    ):  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return build / "gstreamer"


def measure(given: argparse.Namespace, build: Path, bundle: Path) -> list[dict[str, float]]:
    """One dictionary for each round."""
    capi = Path(onnxruntime.__file__).parent / "capi"
    library = sorted(capi.glob("libonnxruntime.so*"))[0]
    width, height = given.size.split("x")
    done = subprocess.run(
        [build / "gstreamer_overhead", bundle, width, height, given.format, str(given.frames),
         str(given.rounds), str(given.threads)],
        env={**os.environ, "GST_PLUGIN_PATH": str(build), "TROCAR_ONNXRUNTIME": str(library)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def table(given: argparse.Namespace, rounds: list[dict[str, float]]) -> str:
    """The measurements as text."""
    ratios = [one["element_ms"] / one["bare_ms"] for one in rounds]
    growth = [one["mib_end"] - one["mib_early"] for one in rounds]
    return (
        f"{given.format} {given.size}, {given.frames} frames a loop, {len(rounds)} rounds, "
        f"{given.threads} threads, load {os.getloadavg()[0]:.1f}, medians\n"
        f"appsink loop:   {median(one['bare_ms'] for one in rounds):8.3f} ms a frame\n"
        f"trocarinfer:    {median(one['element_ms'] for one in rounds):8.3f} ms a frame\n"
        f"overhead:       {100 * (median(ratios) - 1):+8.2f} %  (rounds: "
        + ", ".join(f"{100 * (ratio - 1):+.1f}" for ratio in ratios)
        + f")\nmemory from a tenth of the frames to the end: {max(growth):+.2f} MiB at most"
    )


if __name__ == "__main__":
    main()
