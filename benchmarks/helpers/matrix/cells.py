"""One cell of benchmarks/architecture_matrix.py: train two steps, export, gate, run everywhere.

result = run_cell("unet", "resnet18", size=(64, 64), work=Path("runs/matrix"), library=None)
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from trocar.contract.classes import ClassTable
from trocar.contract.errors import TrocarError
from trocar.contract.manifest import InputSpec, Manifest
from trocar.contract.tensorrt.engines import Profile
from trocar.export.bundle import export_bundle
from trocar.export.cpu_session import infer_on_cpu
from trocar.export.graph.from_torch import onnx_from_network
from trocar.export.graph.model_file import label_outputs
from trocar.export.reference import torch_reference
from trocar.export.tensorrt.build import EngineOptions, build_engine
from trocar.runtime.session import Session
from trocar.train.networks.architectures import make_network
from trocar.train.networks.segmentation import NetworkConfig

TABLE = ClassTable.from_names(["background", "shaft", "tip"])
STEPS = 2
Labels = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def scenes(count: int, size: tuple[int, int], *, seed: int) -> NDArray[np.uint8]:
    """Frames with coarse patches of colour, ``[count, H, W, 3]``, somewhat larger than the net."""
    rng = np.random.default_rng(seed)
    high, wide = size[0] + 24, size[1] + 40
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 6, 8)).astype(np.float32))
    fine = functional.interpolate(coarse, size=(high, wide), mode="bicubic")
    noisy = fine.numpy() + rng.normal(0, 6, (count, 3, high, wide))
    return np.ascontiguousarray(noisy.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1))


def network_input(frames: NDArray[np.uint8], size: tuple[int, int]) -> torch.Tensor:
    """Frames at the size of the network, ``[N, 3, H, W]``, float32."""
    image = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    return functional.interpolate(image, size=size, mode="bilinear")


def trained(network: Any, size: tuple[int, int], *, seed: int = 0) -> nn.Module:
    """Makes two steps, then scales the last layer so that every class occurs.

    Random weights have logits near 0, where the rounding of any runtime changes labels. The scale
    and the bias are from frames that the steps have not seen: on those that it has seen, a large
    network knows the labels after two steps, and on others it may then have one class alone.
    """
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    image = network_input(scenes(2, size, seed=seed), size)
    mask = torch.randint(0, len(TABLE), (2, *size))
    network.train()
    for _ in range(STEPS):
        loss = functional.cross_entropy(network(image), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval().requires_grad_(False)
    logits = network(network_input(scenes(8, size, seed=seed + 1), size))
    mean, spread = logits.mean((0, 2, 3)), logits.std((0, 2, 3)).clamp(min=1e-3)
    state = dict(network.named_parameters())
    weight, bias = (state[name] for name in network.class_rows)
    scale = 4 / spread
    weight.mul_(scale.reshape(-1, *[1] * (weight.ndim - 1)))
    bias.copy_((bias - mean) * scale)
    return network


def run_cell(
    architecture: str,
    encoder: str,
    *,
    size: tuple[int, int],
    work: Path,
    library: str | None = None,
    backends: Sequence[str] = ("onnxruntime", "openvino"),
) -> dict[str, Any]:
    """What became of one architecture with one encoder.

    Args:
        architecture: Name of the architecture.
        encoder: Name of the encoder.
        size: Network height and width.
        work: Folder for the bundle, which is removed again.
        library: Path of libtrocar; ``None`` leaves it out.
        backends: Backends of a session that run the bundle.

    Returns:
        ``refused`` with a reason, or ``failed`` with stage and reason, or the share of labels that
        are equal to PyTorch's by runtime, in percent, with parameters in millions and seconds.
    """
    began = time.monotonic()
    try:
        network, manifest = network_of(architecture, encoder, size)
    except TrocarError as error:
        return {"refused": error.message.replace("\n", " ")}
    stage = "train"
    bundle = work / f"{architecture}-{encoder.replace('/', '_')}.trocar"
    shutil.rmtree(bundle, ignore_errors=True)
    frames = scenes(4, size, seed=7)
    try:
        network = trained(network, size)
        expected = torch_reference(network, manifest_with_outputs(manifest, size))(frames)["labels"]
        stage = "export and gate"
        export_bundle(
            network, manifest, bundle, frames=list(scenes(6, size, seed=3)), open_model=opened
        )
        equal = {}
        for name in backends:
            stage = name
            with Session.open(bundle, backend=name, threads=1) as session:
                equal[name] = share(session.infer(frames)["labels"], expected)
        if library is not None:
            stage = "libtrocar"
            equal["libtrocar"] = share(labels_of_libtrocar(library, bundle, frames), expected)
    except (TrocarError, RuntimeError, ValueError, OSError) as error:
        return {"failed": stage, "why": str(error).splitlines()[0][:300]}
    finally:
        shutil.rmtree(bundle, ignore_errors=True)
    return {
        "equal": equal,
        "classes": len(np.unique(expected)),
        "parameters": round(sum(p.numel() for p in network.parameters()) / 1e6, 2),
        "seconds": round(time.monotonic() - began, 1),
    }


def network_of(architecture: str, encoder: str, size: tuple[int, int]) -> tuple[Any, Manifest]:
    """A network with random weights, the same at every call, and its manifest.

    Raises:
        TrocarError: The combination is refused.
    """
    torch.manual_seed(0)
    manifest = Manifest(
        name="matrix",
        task="segmentation",
        method="supervised",
        classes=TABLE,
        input=InputSpec(height=size[0], width=size[1]),
    )
    config = NetworkConfig(
        architecture=architecture, encoder=encoder, size=size, decoder_channels=32
    )
    return make_network(config, classes=len(TABLE), input=manifest.input), manifest


def run_engine(architecture: str, encoder: str, *, size: tuple[int, int]) -> dict[str, Any]:
    """Whether TensorRT for RTX builds an engine of a cell, which needs no GPU.

    Returns:
        Size of the engine in MB and seconds, or why there is none.
    """
    network, manifest = network_of(architecture, encoder, size)
    data, _ = onnx_from_network(trained(network, size), manifest)
    options = EngineOptions(
        flavour="tensorrt-rtx",
        profile=Profile(minimum=(1, 88, 104), optimum=(1, 88, 104), maximum=(1, 88, 104)),
    )
    began = time.monotonic()
    try:
        built = build_engine(data, options, precision=manifest.precision)
    except TrocarError as error:
        return {"why": error.message.splitlines()[0][:300]}
    megabytes = round(len(built.data) / 1e6, 2)
    return {"megabytes": megabytes, "seconds": round(time.monotonic() - began, 1)}


def manifest_with_outputs(manifest: Manifest, size: tuple[int, int]) -> Manifest:
    """The manifest as the exporter completes it."""
    return replace(manifest, outputs=label_outputs(size))


def opened(path: Path) -> Callable[[NDArray[np.uint8]], dict[str, NDArray[Any]]]:
    """Opens a candidate with ONNX Runtime, as `trocar export` does."""
    return infer_on_cpu(path.read_bytes())


def share(labels: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """Labels that are equal, in percent."""
    return round(100 * float((labels == expected).mean()), 4)


def labels_of_libtrocar(library: str, bundle: Path, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels of the C library, called by ctypes as in its example."""
    file = Path(__file__).resolve().parents[3] / "runtime" / "cpp" / "examples" / "trocar_ctypes.py"
    spec = importlib.util.spec_from_file_location("trocar_ctypes", file)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    session = module.Session(library, str(bundle), threads=1)
    try:
        return np.stack([session.run(frame)[0]["labels"] for frame in frames])
    finally:
        session.close()
