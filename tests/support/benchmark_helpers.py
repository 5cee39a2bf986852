"""Import of the modules in ``benchmarks/helpers``, which are no part of the package."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
from places import ROOT


def benchmark_helper(name: str) -> ModuleType:
    """Import ``benchmarks/helpers/<path>`` by its dotted name inside ``helpers``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        return importlib.import_module(f"helpers.{name}")
