"""What libtrocar's live loop adds to a plain run of the same frame, one run.

python benchmarks/cpp_live.py --bundle model.trocar --frame 1080x1920

Builds the library (Release) and its benchmark. A plain run, a loop that waits asleep and a loop
that spins take the same frame in turns. Writes benchmarks/results/cpp_live.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

import onnxruntime
from cpp_overhead import CPP, ROOT, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--frame", default="1080x1920", help="HEIGHTxWIDTH")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--build", type=Path, default=CPP / "build")
    parser.add_argument("--note", default="", help="a sentence about the machine, for the page")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "cpp_live.md")
    given = parser.parse_args()
    for command in (
        ["cmake", "-S", str(CPP), "-B", str(given.build), "-DCMAKE_BUILD_TYPE=Release",
         "-DTROCAR_BENCHMARKS=ON"],
        ["cmake", "--build", str(given.build), "--target", "cpp_live"],
    ):  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    capi = Path(onnxruntime.__file__).parent / "capi"
    library = sorted(capi.glob("libonnxruntime.so*"))[0]
    height, width = given.frame.split("x")
    done = subprocess.run(
        [given.build / "cpp_live", library, given.bundle, height, width, str(given.rounds),
         str(given.threads)],
        check=True,
        capture_output=True,
        text=True,
    )  # fmt: skip
    text = table(given, json.loads(done.stdout))
    print(text)
    given.out.write_text(text, encoding="utf-8")


def table(given: argparse.Namespace, found: dict[str, float]) -> str:
    """The measurements as a page of documentation."""
    rows = [
        ("from `submit` until the result is read", "total"),
        ("`submit`: copies the frame", "submit"),
        ("from `submit` to the start of the run", "start"),
        ("the run, with location", "run"),
        ("`read` of the instruments", "read"),
    ]
    lines = "\n".join(
        f"| {what} | "
        + " | ".join(cell(found, f"{kind}_{name}") for kind in ("wait", "spin"))
        + " |"
        for what, name in rows
    )
    return (
        "# The live loop of libtrocar against plain runs\n\n"
        f"`python benchmarks/cpp_live.py` (frame {given.frame}, {given.threads} thread(s), ONNX "
        f"Runtime {onnxruntime.__version__}, {processor()}, {given.rounds} rounds)\n\n"
        "Microseconds: medians, lowest values in brackets. The lowest values are what the loop "
        "costs;\nmedians are of the machine as it was.\n\n"
        f"| what | waits asleep | spins |\n| --- | ---: | ---: |\n"
        f"| a copy of the frame and a plain run | {cell(found, 'plain')} | |\n{lines}\n"
        f"| **added** | {added(found, 'wait')} | {added(found, 'spin')} |\n"
        + (f"\n{given.note}\n" if given.note else "")
    )


def added(found: dict[str, float], kind: str) -> str:
    """What a loop takes more than a plain run: of the medians, and of the lowest values."""
    medians = found[f"{kind}_total"] - found["plain"]
    return f"{medians:.0f} ({found[f'least_{kind}_total'] - found['least_plain']:.0f})"


def cell(found: dict[str, float], name: str) -> str:
    """Median and lowest value."""
    return f"{found[name]:.0f} ({found['least_' + name]:.0f})"


if __name__ == "__main__":
    main()
