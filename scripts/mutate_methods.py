"""Mutation run of the training methods: breaks one formula at a time and asks the tests about it.

    python scripts/mutate_methods.py --list
    python scripts/mutate_methods.py --only mean_teacher

``method_mutations.toml`` holds the mutations and the tests of each file. A mutation is applied to a
temporary copy of the tree, and the file's tests run there until one fails. A mutation that no test
notices is a survivor. The exit code is 0 where at most one mutation in ten survives, 1 where more
do, and 2 where a mutation no longer applies or the tests fail without one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PLAN = Path(__file__).with_name("method_mutations.toml")
COPIED = (
    "contract", "cuda_kernels", "export", "runtime", "scripts", "tests", "train", "trocar",
    "pyproject.toml",
)  # fmt: skip
IMPORTED_ONCE = (
    "cv2", "lightning_fabric", "onnx", "onnxruntime", "pytest", "segmentation_models_pytorch",
    "skimage", "timm", "torch",
)  # fmt: skip
"""Packages that every test process needs; it is forked from one that has them already."""
MAX_SURVIVORS = 0.1
MAX_SECONDS = 900
PASSED, FAILED, NO_TESTS = 0, 1, 5


class PlanError(Exception):
    """The plan does not fit the tree."""


@dataclass(frozen=True)
class Mutation:
    """One change of one file.

    Attributes:
        what: What the change breaks.
        file: Path from the root of the repository.
        old: Text that stands in the file exactly once.
        new: Text in its place.
    """

    what: str
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Plan:
    """Mutations, and the arguments of the pytest runs that examine each file."""

    mutations: tuple[Mutation, ...]
    tests: Mapping[str, tuple[str, ...]]


def read_plan(path: Path = PLAN) -> Plan:
    """Reads mutations and tests from TOML."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    mutations = tuple(Mutation(**entry) for entry in data["mutation"])
    return Plan(mutations, {file: tuple(runs) for file, runs in data["tests"].items()})


def mutated(mutation: Mutation, root: Path) -> str:
    """Text of the file after the change.

    Raises:
        PlanError: The old text does not stand there exactly once, or the new one is no Python.
    """
    text = (root / mutation.file).read_text(encoding="utf-8")
    count = text.count(mutation.old)
    if count != 1:
        raise PlanError(
            f"{mutation.what!r}: the old text stands {count} times in {mutation.file}, expected "
            "once; bring the mutation up to date"
        )
    changed = text.replace(mutation.old, mutation.new)
    try:
        compile(changed, mutation.file, "exec")
    except SyntaxError as error:
        raise PlanError(f"{mutation.what!r}: the new text is no Python: {error}") from error
    return changed


@contextlib.contextmanager
def tree_copy(root: Path) -> Iterator[Path]:
    """A temporary copy of the packages and tests, links kept as links."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        for name in COPIED:
            source, target = root / name, Path(folder) / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "build*")
                shutil.copytree(source, target, symlinks=True, ignore=ignored)
            else:
                shutil.copy2(source, target)
        yield Path(folder)


def run_pytest(tree: Path, arguments: str, log: Path) -> int:
    """Exit code of one pytest run in a process of its own; `FAILED` where it takes too long."""
    child = os.fork()
    if not child:
        _pytest_in_child(tree, shlex.split(arguments), log)
    deadline = time.monotonic() + MAX_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return FAILED


def _pytest_in_child(tree: Path, arguments: Sequence[str], log: Path) -> None:
    """Runs pytest and ends the process; never returns."""
    code = NO_TESTS
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(tree)
        sys.dont_write_bytecode = True
        # Installed in place, the package would be the unchanged one.
        sys.path[:] = [str(tree), *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]
        import pytest

        code = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly",
                                "-W", "ignore::pytest.PytestAssertRewriteWarning",
                                *arguments]))  # fmt: skip
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def examine(tree: Path, runs: Sequence[str], log: Path) -> str:
    """``killed`` by a failing test or ``survived`` all runs.

    Raises:
        PlanError: A run had no tests, or the tests could not be collected.
    """
    for arguments in runs:
        code = run_pytest(tree, arguments, log)
        if code == FAILED:
            return "killed"
        if code != PASSED:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise PlanError(f"pytest {arguments} ended with code {code}:\n{tail}")
    return "survived"


def run_plan(plan: Plan, chosen: Sequence[Mutation], root: Path, log: Path) -> list[Mutation]:
    """Runs the tests of each mutation and says the result; returns the survivors."""
    survivors = []
    changed = {mutation: mutated(mutation, root) for mutation in chosen}
    with tree_copy(root) as tree:
        wanted = {run for mutation in chosen for run in plan.tests[mutation.file]}
        for arguments in sorted(wanted):
            if examine(tree, [arguments], log) != "survived":
                raise PlanError(f"pytest {arguments} fails without a mutation; see {log}")
        for number, mutation in enumerate(chosen, 1):
            target, began = tree / mutation.file, time.monotonic()
            plain = target.read_bytes()
            target.write_text(changed[mutation], encoding="utf-8")
            try:
                result = examine(tree, plan.tests[mutation.file], log)
            finally:
                target.write_bytes(plain)
            if result == "survived":
                survivors.append(mutation)
            seconds = time.monotonic() - began
            print(
                f"{number:3}/{len(chosen)} {result:8} {seconds:5.0f} s  "
                f"{mutation.file}: {mutation.what}",
                flush=True,
            )
    return survivors


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print the mutations and check them")
    parser.add_argument("--only", default="", help="text that file or description must contain")
    parser.add_argument("--root", type=Path, default=ROOT, help="root of the tree to examine")
    parser.add_argument("--plan", type=Path, default=PLAN, help="TOML of mutations and tests")
    options = parser.parse_args()
    try:
        plan = read_plan(options.plan)
        chosen = [m for m in plan.mutations if options.only in f"{m.file}: {m.what}"]
        if options.list:
            for mutation in chosen:
                mutated(mutation, options.root)
                print(f"{mutation.file}: {mutation.what}")
            return 0
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        for name in IMPORTED_ONCE:
            __import__(name)
        log = Path(tempfile.gettempdir()) / f"mutations-{os.getpid()}.log"
        survivors = run_plan(plan, chosen, options.root, log)
    except PlanError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(survivors)} of {len(chosen)} mutations survive; output of the tests: {log}")
    for mutation in survivors:
        print(f"  {mutation.file}: {mutation.what}")
    return int(len(survivors) > MAX_SURVIVORS * len(chosen))


if __name__ == "__main__":
    sys.exit(main())
