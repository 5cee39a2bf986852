"""The mutation plan fits the tree; the run itself is `scripts/mutate_methods.py`."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest
from places import ROOT

from trocar.train.methods import own_methods


@pytest.fixture(scope="module")
def mutate() -> ModuleType:
    path = ROOT / "scripts" / "mutate_methods.py"
    spec = importlib.util.spec_from_file_location("mutate_methods", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_mutation_applies_exactly_once(mutate: ModuleType) -> None:
    plan = mutate.read_plan()
    for mutation in plan.mutations:
        changed = mutate.mutated(mutation, ROOT)
        assert changed != (ROOT / mutation.file).read_text(encoding="utf-8"), mutation.what
    names = [mutation.what for mutation in plan.mutations]
    assert len(names) == len(set(names)) >= 35


def test_every_method_and_every_mutated_file_has_its_part(mutate: ModuleType) -> None:
    plan = mutate.read_plan()
    files = {mutation.file for mutation in plan.mutations}
    assert files == set(plan.tests)
    for name in own_methods():
        assert f"train/methods/{name.replace('-', '_')}.py" in files
    for runs in plan.tests.values():
        for argument in " ".join(runs).split():
            if argument.startswith("tests/"):
                assert (ROOT / argument.partition("::")[0]).is_file(), argument


def test_a_mutation_that_no_longer_applies_is_refused(mutate: ModuleType) -> None:
    where = {"file": "train/losses/triplet.py", "new": "pass"}
    with pytest.raises(mutate.PlanError, match="stands 0 times"):
        mutate.mutated(mutate.Mutation(what="x", old="no such text", **where), ROOT)
    with pytest.raises(mutate.PlanError, match="no Python"):
        mutate.mutated(
            mutate.Mutation(
                what="x", old="usable.sum().clamp(min=1)", file=where["file"], new="return ("
            ),
            ROOT,
        )
