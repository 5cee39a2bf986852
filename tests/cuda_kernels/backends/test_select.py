"""The backend that a name or a device selects."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from trocar.contract.errors import ArgumentError, BackendError, MissingExtraError
from trocar.cuda_kernels.backends import cuda
from trocar.cuda_kernels.backends._launch_packages import installed_package
from trocar.cuda_kernels.backends.select import default_backend, select_backend

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def pycuda(monkeypatch) -> None:
    """A machine with pycuda, cuda.bindings and a GPU, as far as the selection can see."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "cuda_backend", lambda device, tensor_cores: (device, tensor_cores))


def test_the_default_follows_the_device(monkeypatch, pycuda) -> None:
    assert default_backend(CPU) == "torch"
    assert default_backend(GPU) == "cuda"
    assert select_backend(None, GPU) == (GPU, False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert default_backend(GPU) == "torch"


def test_the_bindings_launch_where_pycuda_is_not_installed(monkeypatch, pycuda) -> None:
    """They come by pip alone; pycuda needs a compiler."""
    assert installed_package() == "pycuda"
    found = {"cuda.bindings": object()}
    monkeypatch.setattr(importlib.util, "find_spec", found.get)
    assert installed_package() == "cuda.bindings"
    assert default_backend(GPU) == "cuda"


@pytest.mark.parametrize("name", ["reference", "torch"])
def test_a_name_selects_its_backend(name: str) -> None:
    assert select_backend(name, CPU).name == name
    assert select_backend(name, GPU).name == name


def test_tensor_cores_are_selected_by_name_only(pycuda) -> None:
    assert select_backend("cuda-tensor", GPU) == (GPU, True)
    assert select_backend("cuda", GPU) == (GPU, False)


def test_what_is_missing_is_named(monkeypatch, pycuda) -> None:
    with pytest.raises(ArgumentError, match="this one is on cpu"):
        select_backend("cuda", CPU)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="torch sees none"):
        select_backend("cuda", GPU)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"cuda\.bindings or pycuda") as caught:
        select_backend("cuda", GPU)
    assert "trocar[gpu]" in caught.value.remedy
    with pytest.raises(ArgumentError, match="opencl"):
        select_backend("opencl", CPU)
