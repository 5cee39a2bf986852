"""Instance networks of other libraries with random weights, and their own post-processing.

networks = [make() for make in LIBRARIES.values()]
networks[0].own(output)        # what the library itself makes of its network's output

Weights are scaled so that scores differ and masks are not all near their threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Instance = tuple[int, float, NDArray[np.bool_]]
"""Row of the class table, score, mask at the size that was asked for."""

CLASSES = 3
SIZE = (192, 256)


@dataclass(frozen=True)
class LibraryNetwork:
    """A network with the post-processing of its library.

    Attributes:
        name: For the table.
        network: Takes images ``[1,3,h,w]`` float32 as its library states.
        own: From the network's output and a size to instances.
        size: Height and width of its input.
        mean: Of its normalisation.
        std: Likewise.
        spec: Other fields of the input spec.
    """

    name: str
    network: nn.Module
    own: Callable[[Any, tuple[int, int]], list[Instance]]
    size: tuple[int, int]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    spec: Mapping[str, Any] = field(default_factory=dict)


def mask_rcnn() -> LibraryNetwork:
    """Mask R-CNN of torchvision on ResNet-18 with a feature pyramid."""
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.manual_seed(0)
    score = 0.5
    network = MaskRCNN(
        resnet_fpn_backbone(backbone_name="resnet18", weights=None),
        num_classes=CLASSES + 1,
        min_size=min(SIZE),
        max_size=max(SIZE),
        rpn_pre_nms_top_n_test=100,
        rpn_post_nms_top_n_test=50,
        box_detections_per_img=12,
        box_nms_thresh=0.3,
        box_score_thresh=score,
    ).eval()
    heads: Any = network.roi_heads
    with torch.no_grad():
        heads.box_predictor.bbox_pred.weight *= 0.1
        heads.box_predictor.cls_score.weight *= 30
        heads.mask_predictor.mask_fcn_logits.weight *= 20

    def own(output: Any, size: tuple[int, int]) -> list[Instance]:
        found = output[0]
        return [
            (int(label), float(value), (mask[0] > 0.5).numpy())
            for label, value, mask in zip(
                found["labels"], found["scores"], found["masks"], strict=True
            )
        ]

    return LibraryNetwork(
        "torchvision Mask R-CNN", network, own, SIZE, spec={"score": score, "form": "torchvision"}
    )


def _small_swin() -> Any:
    """The encoder of both networks of transformers."""
    from transformers import SwinConfig

    return SwinConfig(
        image_size=384,
        embed_dim=24,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 3, 4],
        window_size=12,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )


def mask2former() -> LibraryNetwork:
    """Mask2Former of transformers, 100 queries."""
    from transformers import (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        Mask2FormerImageProcessor,
    )

    torch.manual_seed(0)
    config = Mask2FormerConfig(
        backbone_config=_small_swin(),
        num_labels=CLASSES,
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_feedforward_dim=64,
        dim_feedforward=64,
        encoder_layers=1,
        decoder_layers=3,
        num_attention_heads=4,
        num_queries=100,
    )
    network = Mask2FormerForUniversalSegmentation(config).eval()
    processor = Mask2FormerImageProcessor()
    return _transformers("transformers Mask2Former", network, processor)


def maskformer() -> LibraryNetwork:
    """MaskFormer of transformers, 100 queries."""
    from transformers import (
        DetrConfig,
        MaskFormerConfig,
        MaskFormerForInstanceSegmentation,
        MaskFormerImageProcessor,
    )

    torch.manual_seed(0)
    config = MaskFormerConfig(
        backbone_config=_small_swin(),
        decoder_config=DetrConfig(
            d_model=64,
            decoder_layers=2,
            decoder_ffn_dim=64,
            decoder_attention_heads=4,
            encoder_layers=1,
            encoder_ffn_dim=64,
            encoder_attention_heads=4,
            num_queries=100,
        ),
        fpn_feature_size=64,
        mask_feature_size=64,
        num_labels=CLASSES,
    )
    network = MaskFormerForInstanceSegmentation(config).eval()
    return _transformers("transformers MaskFormer", network, MaskFormerImageProcessor())


def _transformers(name: str, network: Any, processor: Any) -> LibraryNetwork:
    score = 0.5
    with torch.no_grad():
        network.class_predictor.weight *= 8

    def own(output: Any, size: tuple[int, int]) -> list[Instance]:
        found = processor.post_process_instance_segmentation(
            output, threshold=score, target_sizes=[size], return_binary_maps=True
        )[0]
        if not found["segments_info"]:
            return []
        return [
            (one["label_id"] + 1, one["score"], np.asarray(mask, np.bool_))
            for one, mask in zip(found["segments_info"], found["segmentation"], strict=True)
        ]

    return LibraryNetwork(
        name, _MasksAndClasses(network), own, (384, 384), spec={"score": score, "form": "queries"}
    )


class _MasksAndClasses(nn.Module):
    """Returns the two outputs that matter, in the library's own type."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        output = self.network(pixel_values=image)
        return _Output(
            class_queries_logits=output.class_queries_logits,
            masks_queries_logits=output.masks_queries_logits,
        )


class _Output(dict[str, Tensor]):
    """A dictionary whose entries are attributes too, as the library's are."""

    __getattr__ = dict.__getitem__


LIBRARIES: dict[str, Callable[[], LibraryNetwork]] = {
    "mask-rcnn": mask_rcnn,
    "mask2former": mask2former,
    "maskformer": maskformer,
}


def query_output(tensors: list[Tensor]) -> dict[str, Tensor]:
    """Class and mask logits, in whichever order, as the library's own output."""
    logits, masks = sorted(tensors, key=lambda tensor: tensor.ndim)
    return _Output(class_queries_logits=logits, masks_queries_logits=masks)
