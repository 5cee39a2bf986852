"""What libtrocar costs over ONNX Runtime's own C++ `Run`: frame to instruments, one run.

python benchmarks/cpp_overhead.py            # ResNet-18 DeepLabV3+, 512x640, two threads

Builds the library (Release), its benchmark and a bundle whose labels show two instruments, then
lets four sessions of either kind run the same frame in turns. Location works on labels of network
size. Writes benchmarks/results/cpp.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
from pathlib import Path

import onnxruntime
from helpers.live.model import deeplab_bundle

ROOT = Path(__file__).resolve().parents[1]
CPP = ROOT / "runtime" / "cpp"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frame", default="512x640", help="HEIGHTxWIDTH")
    parser.add_argument("--work", type=Path, help="keep the bundle here")
    parser.add_argument("--note", default="", help="a sentence about the machine, for the page")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "cpp.md")
    given = parser.parse_args()
    build = build_benchmark()
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        bundle = deeplab_bundle(work / f"{given.encoder}.trocar", encoder=given.encoder)
        measure(given, build, bundle)


def build_benchmark() -> Path:
    build = CPP / "build"
    for command in (
        ["cmake", "-S", str(CPP), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release",
         "-DTROCAR_BENCHMARKS=ON"],
        ["cmake", "--build", str(build), "--target", "cpp_overhead", "trocar_shared"],
    ):  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return build


def measure(given: argparse.Namespace, build: Path, bundle: Path) -> None:
    capi = Path(onnxruntime.__file__).parent / "capi"
    library = sorted(capi.glob("libonnxruntime.so*"))[0]
    height, width = given.frame.split("x")
    done = subprocess.run(
        [build / "cpp_overhead", library, bundle, height, width, str(given.rounds),
         str(given.threads)],
        check=True,
        capture_output=True,
        text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    stripped = build / "libtrocar.stripped.so"
    subprocess.run(["strip", "-o", stripped, build / "libtrocar.so"], check=True)
    text = table(given, found, stripped.stat().st_size)
    print(text)
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text, encoding="utf-8")


def table(given: argparse.Namespace, found: dict[str, float], size: int) -> str:
    """The measurements as a page of documentation."""

    def percent(name: str) -> str:
        return f"{100 * (found[name] - 1):+.2f} %"

    rows = [
        ("bare `Run`", f"{found['bare_ms']:.2f} ms"),
        ("libtrocar, frame to instruments", f"{found['trocar_ms']:.2f} ms"),
        ("**overhead** (median of the rounds' ratios; goal: at most 3 %)", percent("ratio")),
        ("the same in processor time", percent("work_ratio")),
        ("noise: two bare sessions against two bare sessions", percent("noise")),
        ("libtrocar's own time outside `Run`, as a share of it", percent("outside")),
        (f"of that, locating {found['instruments']} instruments", f"{found['locate_ms']:.3f} ms"),
        ("opening: hashes, ONNX Runtime, model, golden frame", f"{found['open_ms']:.0f} ms"),
        ("start to first result", f"{found['first_result_ms']:.0f} ms"),
        ("`libtrocar.so`, stripped, without ONNX Runtime", f"{size / 1024:.0f} KiB"),
    ]
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        "# libtrocar against bare ONNX Runtime\n\n"
        "`python benchmarks/cpp_overhead.py` "
        f"({given.encoder} encoder, network 512x640, frame {given.frame}, {given.threads} threads, "
        f"ONNX Runtime {onnxruntime.__version__}, {processor()}, {given.rounds} rounds of four "
        "sessions each, medians)\n\n"
        f"| what | measured |\n| --- | ---: |\n{lines}\n"
        + (f"\n{given.note}\n" if given.note else "")
    )


def processor() -> str:
    """Name of the CPU."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
