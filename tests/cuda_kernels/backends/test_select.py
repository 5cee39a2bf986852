"""The documentation's example runs, and the ways that the benchmark times agree with each other."""

from __future__ import annotations

import importlib.util
import re
import sys

import numpy as np
import pytest
import torch
from places import ROOT

from trocar.cuda_kernels import DEFAULT_OFFSETS, glcm_entropy, soft_glcm_entropy


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("glcm_benchmark", ROOT / "benchmarks" / "glcm.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_example_of_the_documentation() -> None:
    text = (ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    assert names["logits"].grad.any()
    assert names["wide"][:4] == DEFAULT_OFFSETS


def test_the_ways_of_the_benchmark_agree(benchmark) -> None:
    z = torch.randn(2, 3, 17, 23, requires_grad=True)
    expected = soft_glcm_entropy(z.detach().numpy(), from_logits=True, mode="soft")
    for way in benchmark.soft_ways(z, False):
        if "straight" not in way.name:
            np.testing.assert_allclose(way.run(), expected, rtol=1e-4)
    labels = torch.randint(0, 8, (2, 17, 23), dtype=torch.uint8)
    for way in benchmark.hard_ways(labels, 8):
        np.testing.assert_allclose(way.run(), glcm_entropy(labels.numpy(), levels=8), rtol=1e-5)


def test_the_benchmark_stops_at_a_wrong_value(benchmark) -> None:
    wrong = benchmark.Way("wrong", lambda: torch.ones(2))
    with pytest.raises(SystemExit, match="wrong gives"):
        benchmark.agreeing([wrong], np.zeros(2), 0)
