"""The graph that is exported: it takes frames as they were decoded and returns labels.

    graph = FrameGraph(network, manifest)
    labels, confidence = graph(frames)      # frames: [N,H,W,3] uint8 RGB, any H and W

Resizing, normalising (inside the network) and arg-max are part of the graph, so no runtime has to
implement them again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trocar.contract.errors import ArgumentError
from trocar.contract.manifest import InputSpec, Manifest, OutputSpec
from trocar.export.graph.model_file import label_outputs


class FrameGraph(nn.Module):
    """Wraps a network so that it takes decoded frames.

    Segmentation networks take ``[N,3,h,w]`` float32 RGB 0..255 and return ``[N,K,h,w]`` logits; the
    graph returns ``labels`` ``[N,h,w]`` uint8 and ``confidence`` ``[N,h,w]`` float16, the largest
    softmax. Classification networks return ``scores`` ``[N,K]``, or the pair of it and
    ``embedding`` ``[N,D]``; the graph returns them as float32, and nothing is added to the scores.

    Args:
        network: The deployable network; it normalises inside.
        manifest: Task, input size and classes.
        with_logits: Segmentation only: also return ``logits`` ``[N,K,h,w]`` float32.
    """

    def __init__(
        self, network: nn.Module, manifest: Manifest, *, with_logits: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.size = (manifest.input.height, manifest.input.width)
        self.classes = len(manifest.classes)
        self.task = manifest.task
        self.with_logits = with_logits

    def forward(self, frame: Tensor, *classes: Tensor) -> tuple[Tensor, ...]:
        """``[N,H,W,3]`` uint8 to the outputs of the task, in the order of `check_network`.

        ``classes``: class tensors that a classifier uses instead of its own.
        """
        # The cast is before the transpose because TensorRT refuses to transpose uint8.
        image = frame.to(torch.float32).permute(0, 3, 1, 2)  # [N,3,H,W] 0..255
        # TensorRT has no antialiasing; training resizes in the same way.
        image = functional.interpolate(
            image, size=self.size, mode="bilinear", align_corners=False, antialias=False
        )
        output = self.network(image, *classes)
        if self.task == "classification":
            return _as_float32(output)
        logits: Tensor = output
        labels = logits.argmax(1).to(torch.uint8)
        top = logits.amax(1, keepdim=True)
        # The largest softmax is 1 / sum exp(z - max z): one pass less than softmax and maximum.
        confidence = ((logits - top).exp().sum(1)).reciprocal().to(torch.float16)
        return (labels, confidence, logits) if self.with_logits else (labels, confidence)


def _as_float32(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    parts = (output,) if isinstance(output, Tensor) else tuple(output)
    return tuple(part.to(torch.float32) for part in parts)


class Normalised(nn.Module):
    """Puts the normalisation of an input spec in front of a network that has none.

    Args:
        network: Takes ``[N,3,h,w]`` float32 normalised images.
        spec: ``mean`` and ``std`` in units of 0..1, in the order red, green, blue.
        channels: ``"rgb"`` or ``"bgr"``, the order that the network was trained on.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, spec: InputSpec, *, channels: str = "rgb") -> None:
        super().__init__()
        self.network = network
        self.flip = channels == "bgr"
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255.0)
        self.register_buffer("scale", 1.0 / (torch.tensor(spec.std).view(1, 3, 1, 1) * 255.0))

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """``[N,3,h,w]`` float32 RGB 0..255 to the network's own output."""
        image = (image - self.mean) * self.scale
        output: Tensor | tuple[Tensor, ...] = self.network(image.flip(1) if self.flip else image)
        return output


def check_network(network: nn.Module, manifest: Manifest) -> tuple[OutputSpec, ...]:
    """Runs the network once and describes the outputs of its graph.

    Returns:
        One `OutputSpec` for each output, without ``logits``.

    Raises:
        ArgumentError: The network does not return what its manifest states.
    """
    size = (manifest.input.height, manifest.input.width)
    classes = len(manifest.classes)
    with torch.no_grad():
        output = network(torch.full((1, 3, *size), 127.0))
    parts = (output,) if isinstance(output, Tensor) else output
    wanted = f"[1, {classes}, {size[0]}, {size[1]}]"
    if manifest.task == "classification":
        wanted = f"[1, {classes}], or a pair of that and an embedding [1, D]"
    if not isinstance(parts, (tuple, list)) or not all(isinstance(p, Tensor) for p in parts):
        raise ArgumentError(
            f"the network returns a {type(output).__name__}, expected a tensor {wanted}",
            remedy="wrap it in a module whose forward returns that",
        )
    shapes = [tuple(part.shape) for part in parts]
    if manifest.task == "segmentation":
        if shapes != [(1, classes, *size)]:
            raise ArgumentError(
                f"the network returns {shapes}, expected {wanted}: its classes or size differ "
                "from the manifest's",
                remedy="give the class table and input size that it was trained with",
            )
        return label_outputs(size)
    good = len(shapes) in (1, 2) and all(len(s) == 2 for s in shapes) and shapes[0][1] == classes
    if not good:
        raise ArgumentError(
            f"the network returns {shapes}, expected {wanted}",
            remedy="give the class table that it was trained with",
        )
    named = zip(("scores", "embedding"), shapes, strict=False)
    return tuple(
        OutputSpec(name=name, dtype="float32", shape=("batch", shape[1])) for name, shape in named
    )
