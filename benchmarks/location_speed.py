"""How long location takes in Python and in libtrocar, on phantom truth at network size 512x640.

python benchmarks/location_speed.py --json benchmarks/results/location_speed.json

Label maps of scenes with two instruments or more go through both, with half confidences and the
options of a new model. The time of a map is the least of all rounds, so that other work on the
machine counts little; Python's is processor time. ``--other PROGRAM`` runs the program
`location_speed` that was built from another revision by turns with this one's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import thread_time
from typing import Any

import cv2
import numpy as np
from live_location import with_parts
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.location import LocationOptions
from trocar.runtime.locate.instruments import locate
from trocar.train.data.phantom import PhantomConfig, phantom_frames, phantom_table

CPP = Path(__file__).resolve().parents[1] / "runtime" / "cpp"
FRAME = (1080, 1920)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--other", type=Path, help="the program of another revision")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    program = built()
    config = PhantomConfig(frames=given.frames, seed=given.seed, clip_length=4)
    frames = list(phantom_frames(config))
    parts_table, parts = with_parts(frames)
    chosen = [i for i, frame in enumerate(frames) if len(frame.tips) >= 2]
    figures: dict[str, Any] = {"command": "python " + " ".join(sys.argv)}
    for name, table, maps in (
        ("types alone", phantom_table(), [frames[i].types for i in chosen]),
        ("types with parts", parts_table, [parts[i] for i in chosen]),
    ):
        figures[name] = compared(np.stack(maps), table, program, given)
        print(f"{name}: {json.dumps(figures[name])}")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def built() -> Path:
    """The program of this revision."""
    build = CPP / "build"
    for command in (
        ["cmake", "-S", str(CPP), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release",
         "-DTROCAR_BENCHMARKS=ON"],
        ["cmake", "--build", str(build), "--target", "location_speed"],
    ):  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return build / "location_speed"


def compared(
    maps: NDArray[np.uint8], table: ClassTable, program: Path, given: argparse.Namespace
) -> dict[str, Any]:
    """Medians and largest times of the maps, in milliseconds."""
    random = np.random.default_rng(given.seed)
    confidences = (0.7 + 0.3 * random.random(maps.shape, np.float32)).astype(np.float16)
    python, found = measured(maps, confidences, table, given.rounds)
    result = {"maps": len(maps), "instruments": found, "python": summary(python)}
    with tempfile.TemporaryDirectory() as folder:
        data, classes, options = (Path(folder) / name for name in ("maps", "classes", "options"))
        data.write_bytes(maps.tobytes() + confidences.tobytes())
        rows = [f"{row.id}\t{row.name}\t{row.type}\t{row.part}" for row in table if row.instrument]
        classes.write_text("\n".join(rows) + "\n", encoding="utf-8")
        options.write_text(json.dumps(LocationOptions().to_dict()), encoding="utf-8")
        sizes = [str(n) for n in (*FRAME, given.rounds)]

        def of(one: Path) -> NDArray[np.float64]:
            command = [one, data, *(str(n) for n in maps.shape), classes, options, *sizes]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            answer = json.loads(done.stdout)
            if answer["found"] != found:
                raise SystemExit(f"{one} found {answer['found']} instruments, Python {found}")
            return np.array(answer["ms"])

        programs = {"c++": program, **({"other c++": given.other} if given.other else {})}
        times = {name: [of(one) for _ in range(3)] for name, one in programs.items()}
        result |= {name: summary(np.min(own, axis=0)) for name, own in times.items()}
    return result


def measured(
    maps: NDArray[np.uint8], confidences: NDArray[np.float16], table: ClassTable, rounds: int
) -> tuple[NDArray[np.float64], int]:
    """Least milliseconds of each map in Python, and the number of instruments."""
    least = np.full(len(maps), np.inf)
    found = 0
    for number in range(rounds):
        for i, (labels, confidence) in enumerate(zip(maps, confidences, strict=True)):
            started = thread_time()
            instruments = locate(labels, confidence, table, FRAME)
            least[i] = min(least[i], (thread_time() - started) * 1e3)
            found += len(instruments) if number == 0 else 0
    return least, found


def summary(values: NDArray[np.float64]) -> dict[str, float]:
    return {
        "median_ms": round(statistics.median(values.tolist()), 3),
        "largest_ms": round(float(values.max()), 3),
    }


if __name__ == "__main__":
    main()
