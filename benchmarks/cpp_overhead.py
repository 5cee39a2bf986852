"""What libtrocar costs over ONNX Runtime's own C++ `Run`: frame to instruments, one run.

python benchmarks/cpp_overhead.py            # ResNet-18 DeepLabV3+, 512x640, two threads

Builds the library (Release), its benchmark and a bundle whose labels show two instruments, then
lets both run the same frame in turns. Location works on labels of network size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import live_kit
import onnxruntime

ROOT = Path(__file__).resolve().parents[1]
CPP = ROOT / "runtime" / "cpp"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frame", default="512x640", help="HEIGHTxWIDTH")
    parser.add_argument("--work", type=Path, help="keep the bundle here")
    given = parser.parse_args()
    build = build_benchmark()
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        bundle = live_kit.deeplab_bundle(work / f"{given.encoder}.trocar", encoder=given.encoder)
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
    print(f"{given.encoder}, network 512x640, frame {given.frame}, {given.threads} threads,")
    print(f"ONNX Runtime {onnxruntime.__version__}, {given.rounds} rounds, medians")
    print(f"  bare Run                      {found['bare_ms']:8.2f} ms")
    print(f"  libtrocar, frame to result    {found['trocar_ms']:8.2f} ms")
    print(
        f"  overhead (median of ratios)   {100 * (found['ratio'] - 1):8.2f} %   goal: at most 3 %"
    )
    print(f"  the same in processor time    {100 * (found['work_ratio'] - 1):8.2f} %")
    print(f"  of it, location               {found['locate_ms']:8.3f} ms "
          f"(least {found['least_locate_ms']:.3f}), "
          f"{found['instruments']} instruments")  # fmt: skip
    print(f"  open, hashes and golden frame {found['open_ms']:8.1f} ms")
    print(f"  start to first result         {found['first_result_ms']:8.1f} ms")
    print(f"  library, stripped             {stripped.stat().st_size / 1024:8.0f} KiB")


if __name__ == "__main__":
    main()
