"""Fuzzes the parsers of files from outside with atheris, guided by coverage.

    pip install atheris
    python scripts/fuzz_parsers.py --seconds 300               # every parser in turn
    python scripts/fuzz_parsers.py --only LabelMe --seconds 60

Each parser runs in a process of its own, for its part of the time. A file that ends in anything but
a result or an error that names it is written to `--out`, and the exit code is 1. The tests run the
same parsers on changed files without coverage (`tests/fuzz`); atheris is not needed there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Runs the parsers that the arguments name; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=300, help="time for all parsers together")
    parser.add_argument("--only", action="append", help="name of a parser; may be repeated")
    parser.add_argument(
        "--out", type=Path, default=Path("fuzz_findings"), help="folder of findings"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    if given.child:
        _fuzz(given.child, given.seconds, given.out)
        return 0
    import parser_targets

    names = given.only or list(parser_targets.targets())
    failed = []
    for name in names:
        seconds = max(given.seconds // len(names), 1)
        words = ["--child", name, "--seconds", str(seconds), "--out", str(given.out.resolve())]
        done = subprocess.run(
            [sys.executable, __file__, *words],
            env={**os.environ, "OPENCV_LOG_LEVEL": "SILENT", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        runs = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
        print(f"{name}: {runs[-1] if runs else 'failed'}", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout[-2000:], done.stderr[-4000:], sep="\n")
    return int(bool(failed))


def _fuzz(name: str, seconds: int, out: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=["trocar"]):
        import parser_targets

        target = parser_targets.targets()[name]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root, corpus = Path(folder) / "root", Path(folder) / "corpus"
        root.mkdir()
        corpus.mkdir()
        target.prepare(root)
        for number, seed in enumerate(target.seeds):
            (corpus / str(number)).write_bytes(seed)

        def one(data: bytes) -> None:
            complaint = parser_targets.complaint(target, root, data)
            if complaint:
                raise AssertionError(complaint)

        prefix = f"{out}/{name.replace(' ', '_')}_"
        limits = [
            f"-max_total_time={seconds}",
            "-max_len=20000",
            "-timeout=20",
            "-rss_limit_mb=4096",
        ]
        atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={prefix}", str(corpus)], one)
        with contextlib.suppress(SystemExit):
            atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
