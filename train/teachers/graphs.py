"""ONNX graphs as teachers, run by ONNX Runtime: frame-in graphs of Trocar, and foreign ones.

logits = frame_graph(Path("m.trocar/model.onnx").read_bytes(), source="m.trocar")
logits(images)                                              # [B,K,h,w]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trocar.contract.errors import DataError
from trocar.contract.graph.logits import logits_tensor
from trocar.contract.text.words import first_line
from trocar.train.constants import constant

LOGITS = "teacher_logits"
"""Name of the output that is added to a frame-in graph."""

_SMALLEST = 1e-7
_PROBE = 64
"""Side in pixels of the image on which a foreign graph of any size is tried."""


def frame_graph(model: bytes, *, source: str) -> Callable[[Tensor], Tensor]:
    """The logits of a frame-in graph: RGB ``[B,3,h,w]`` 0..255 to ``[B,K,h,w]``.

    The graph takes uint8 frames, so images are rounded.

    Raises:
        DataError: The labels are not made by an arg-max, so that there are no logits.
    """
    import onnx

    graph = onnx.load_model_from_string(model)
    name = logits_tensor(graph)
    if name is None:
        raise DataError(
            f"the graph of {source} has no logits: its labels are not made by an arg-max",
            remedy="name the run that it was exported from, or another teacher",
        )
    graph.graph.node.append(
        onnx.helper.make_node("Cast", [name], [LOGITS], to=onnx.TensorProto.FLOAT)
    )
    graph.graph.output.append(
        onnx.helper.make_tensor_value_info(LOGITS, onnx.TensorProto.FLOAT, None)
    )
    session = _Session(graph.SerializeToString(), source=source)

    def logits(image: Tensor) -> Tensor:
        frames = image.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        return session.run(LOGITS, frames.contiguous())

    return logits


class ForeignGraph:
    """An ONNX file that takes normalised float images and returns logits or probabilities.

    Attributes:
        channels: Number of its classes.
        size: Height and width that it takes; ``None`` where it takes any.
    """

    def __init__(
        self, session: _Session, *, mean: Sequence[float], std: Sequence[float], source: str
    ) -> None:
        self._session = session
        self._mean = tuple(255 * float(m) for m in mean)
        self._std = tuple(255 * float(s) for s in std)
        (given,) = session.inputs if len(session.inputs) == 1 else (None,)
        shape = [] if given is None else list(given.shape)
        is_image = len(shape) == 4 and (shape[1] == 3 or not isinstance(shape[1], int))
        if given is None or not is_image or given.type not in _FLOATS:
            taken = "; ".join(f"{one.name} {one.type} {one.shape}" for one in session.inputs)
            raise _unusable(source, f"it takes {taken}, expected one float image [N,3,h,w]")
        self._type = _FLOATS[given.type]
        fixed = [side for side in shape[2:] if isinstance(side, int)]
        self.size = (fixed[0], fixed[1]) if len(fixed) == 2 else None
        # More than one image is tried, so that a batch of one in the file is found here.
        shape = [2, 3, *(self.size or (_PROBE, _PROBE))]
        probe = 255 * torch.rand(shape, generator=torch.Generator().manual_seed(0))
        outputs = [(n, v) for n, v in session.run_all(self._input(probe)) if v.ndim == 4]
        if not outputs:
            raise _unusable(source, "none of its outputs is a map [N,K,h,w]")
        self._output, values = outputs[0]
        self.channels = int(values.shape[1])
        sums = values.sum(axis=1)
        self._is_probability = bool(values.min() >= 0 and np.abs(sums - 1).max() < 1e-2)

    def __call__(self, image: Tensor) -> Tensor:
        """RGB ``[B,3,h,w]`` 0..255 to logits ``[B,K,h',w']``; probabilities become their logs."""
        values = self._session.run(self._output, self._input(image))
        return values.clamp(min=_SMALLEST).log() if self._is_probability else values

    def _input(self, image: Tensor) -> Tensor:
        image = image.float()
        mean, std = (constant(v, like=image)[:, None, None] for v in (self._mean, self._std))
        return ((image - mean) / std).to(self._type)


def foreign_graph(
    model: bytes, *, source: str, mean: Sequence[float], std: Sequence[float]
) -> ForeignGraph:
    """Opens an ONNX file that Trocar did not export.

    Args:
        model: Its bytes.
        source: Its name, for errors.
        mean: Normalisation of RGB values 0..1.
        std: Likewise.

    Raises:
        DataError: It takes or returns something else than an image and a map of classes.
    """
    return ForeignGraph(_Session(model, source=source), mean=mean, std=std, source=source)


_FLOATS = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}


class _Session:
    """ONNX Runtime on the device of the images; CUDA where the provider is there, else CPU."""

    def __init__(self, model: bytes, *, source: str) -> None:
        import onnxruntime

        self._source = source
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        providers = ["CPUExecutionProvider"]
        if torch.cuda.is_available():
            known = onnxruntime.get_available_providers()
            providers = [p for p in ("CUDAExecutionProvider",) if p in known] + providers
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        except Exception as error:
            # ONNX Runtime has an error class for each of its status codes.
            raise _unusable(source, first_line(error)) from error
        self.inputs: list[Any] = list(self._session.get_inputs())

    def run(self, output: str, image: Tensor) -> Tensor:
        """One output, on the device of the image, float32."""
        (values,) = self._run([output], image)
        found = torch.from_numpy(np.asarray(values, np.float32))
        return found.to(image.device, non_blocking=True)

    def run_all(self, image: Tensor) -> list[tuple[str, NDArray[np.float32]]]:
        """All outputs by name."""
        names = [output.name for output in self._session.get_outputs()]
        return [
            (name, np.asarray(value, np.float32))
            for name, value in zip(names, self._run(names, image), strict=True)
        ]

    def _run(self, names: list[str], image: Tensor) -> list[Any]:
        try:
            values: list[Any] = self._session.run(names, {self.inputs[0].name: image.cpu().numpy()})
        except Exception as error:
            raise _unusable(self._source, first_line(error)) from error
        return values


def _unusable(source: str, why: str) -> DataError:
    return DataError(
        f"the teacher {source} cannot be used: {why}",
        remedy="make a bundle of it with `trocar import-onnx`, and name the bundle as --teacher",
    )
