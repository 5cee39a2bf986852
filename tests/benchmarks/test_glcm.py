"""The implementations that the benchmark times agree with each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmark_helpers import benchmark_helper

from trocar.cuda_kernels import glcm_entropy, soft_glcm_entropy

implementations = benchmark_helper("glcm.implementations")
measurement = benchmark_helper("glcm.measurement")


def test_the_implementations_agree() -> None:
    z = torch.randn(2, 3, 17, 23, requires_grad=True)
    expected = soft_glcm_entropy(z.detach().numpy(), from_logits=True, mode="soft")
    for implementation in implementations.soft_implementations(z, False):
        if "straight" not in implementation.name:
            np.testing.assert_allclose(implementation.run(), expected, rtol=1e-4)
    labels = torch.randint(0, 8, (2, 17, 23), dtype=torch.uint8)
    for implementation in implementations.hard_implementations(labels, 8):
        np.testing.assert_allclose(
            implementation.run(), glcm_entropy(labels.numpy(), levels=8), rtol=1e-5
        )


def test_a_wrong_value_stops_the_benchmark() -> None:
    wrong = implementations.Implementation("wrong", lambda: torch.ones(2))
    with pytest.raises(SystemExit, match="wrong gives"):
        measurement.verified([wrong], np.zeros(2), 0)
