"""The examples in the docstrings of `trocar.runtime.locate` give the stated results."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = {
    "groups": 1,
    "measures": 3,
    "region": 4,
    "rules.regions": 2,
    "rules.selection": 1,
    "view_mask": 1,
}
"""Modules with examples, and the least number of docstrings that have one."""


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_state(name: str) -> None:
    module = importlib.import_module(f"trocar.runtime.locate.{name}")
    examples = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert len(examples) >= MODULES[name]
    runner = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST)
    for example in examples:
        runner.run(example)
    assert runner.summarize(verbose=False).failed == 0
