"""Instance networks of other libraries with random weights, and their own post-processing.

networks = [make() for make in LIBRARIES.values()]
networks[0].own(output)        # what the library itself makes of its network's output

Weights are random (seed 0). The last layers are scaled on four images so that queries differ, as
those of a trained network do: a plain random transformer gives all queries the same mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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
        stated: As ``own``, by the rules that docs/instances.md states, where these differ.
    """

    name: str
    network: nn.Module
    own: Callable[[Any, tuple[int, int]], list[Instance]]
    size: tuple[int, int]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    spec: Mapping[str, Any] = field(default_factory=dict)
    stated: Callable[[Any, tuple[int, int]], list[Instance]] | None = None


def mask_rcnn(mask_scale: float = 3.0) -> LibraryNetwork:
    """Mask R-CNN of torchvision on ResNet-18 with a feature pyramid.

    Args:
        mask_scale: Factor of the last layer of the masks. With 20 their probabilities are 0 or 1.
    """
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
        heads.mask_predictor.mask_fcn_logits.weight *= mask_scale

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


def mask_rcnn_hard() -> LibraryNetwork:
    """The same with masks of 0 and 1: halfway between two of them the probability is 0.5."""
    return replace(mask_rcnn(20.0), name="torchvision Mask R-CNN, hard masks")


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
    embedder = network.model.transformer_module.decoder.mask_predictor.mask_embedder
    pixels = network.model.pixel_level_module.decoder.mask_projection
    return _transformers("transformers Mask2Former", network, processor, (embedder, pixels))


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
    with torch.no_grad():
        # Initialised with a deviation of 0.02, at which all queries look everywhere alike.
        for part in network.model.transformer_module.decoder.modules():
            if isinstance(part, nn.Linear):
                part.weight *= 8
        network.model.transformer_module.queries_embedder.weight.normal_()
    layers = network.mask_embedder, network.model.pixel_level_module.decoder.mask_projection
    return _transformers("transformers MaskFormer", network, MaskFormerImageProcessor(), layers)


def _transformers(
    name: str, network: Any, processor: Any, layers: tuple[nn.Module, Any]
) -> LibraryNetwork:
    score = 0.5
    image, last, pixels = _spots(384), _last_linear(layers[0]), layers[1]
    _spread(network, image, last, 1.0)
    with torch.no_grad():
        masks = network(pixel_values=image).masks_queries_logits
        factor = 3 / masks.std()
        last.weight *= factor
        last.bias *= factor
        # One channel is constant, so that masks cover a part of the image only.
        last.weight[0], last.bias[0] = 0, -5
        pixels.weight[0], pixels.bias[0] = 0, 1
    _spread(network, image, network.class_predictor, 3.0)
    with torch.no_grad():
        network.class_predictor.bias[-1] += 5

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
        name,
        _MasksAndClasses(network),
        own,
        (384, 384),
        spec={"score": score, "form": "queries"},
        stated=lambda output, size: _stated_queries(output, size, score),
    )


def _stated_queries(output: Any, size: tuple[int, int], score: float) -> list[Instance]:
    """Scores at the size of the network's masks; logits enlarged, then compared with 0."""
    shares = output["class_queries_logits"][0].softmax(-1)[:, :-1]
    small = output["masks_queries_logits"]
    inside = small[0] > 0
    sums = (small[0].sigmoid() * inside).sum((1, 2))
    scores = shares * (sums / (inside.sum((1, 2)) + 1e-6))[:, None]
    return _one_class(scores, small, size, score)


def _one_class(
    scores: Tensor, masks: Tensor, size: tuple[int, int], score: float
) -> list[Instance]:
    """Each query once, with its best class: scores ``[Q,K]``, mask logits ``[1,Q,h,w]``.

    A query whose enlarged mask has no pixel is none.
    """
    large = nn.functional.interpolate(masks, size=size, mode="bilinear", align_corners=False)[0]
    values, labels = scores.max(1)
    found = (values >= score) & (large > 0).any(-1).any(-1)
    return [
        (int(labels[query]) + 1, float(values[query]), (large[query] > 0).numpy())
        for query in torch.nonzero(found).flatten().tolist()
    ]


def rfdetr_seg() -> LibraryNetwork:
    """RF-DETR-Seg Nano, 100 queries: one sigmoid more than classes, the last one is unused."""
    from rfdetr.config import RFDETRSegNanoConfig
    from rfdetr.models.lwdetr import build_model_from_config
    from rfdetr.models.postprocess import PostProcess

    torch.manual_seed(0)
    score, side = 0.5, 312
    config = RFDETRSegNanoConfig(
        pretrain_weights="none", num_classes=CLASSES, num_queries=100, num_select=100, device="cpu"
    )
    network = build_model_from_config(config).eval()
    network.export()
    processor = PostProcess(num_select=100)
    _spread(network, 4 * _spots(side) - 2, network.class_embed, 2.0)
    with torch.no_grad():
        network.class_embed.bias -= 3
        network.class_embed.bias[-1] = -20.0
        network.segmentation_head.bias -= 6

    def own(output: Any, size: tuple[int, int]) -> list[Instance]:
        found = processor(output, torch.tensor([size]), score_threshold=score)[0]
        return [
            (int(label) + 1, float(value), mask[0].numpy())
            for label, value, mask in zip(
                found["labels"], found["scores"], found["masks"], strict=True
            )
        ]

    return LibraryNetwork(
        "rfdetr RF-DETR-Seg Nano",
        _Named(network),
        own,
        (side, side),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        spec={"score": score, "form": "queries", "unused": "last"},
        stated=lambda output, size: _one_class(
            output["pred_logits"][0, :, :CLASSES].sigmoid(), output["pred_masks"], size, score
        ),
    )


def _spots(side: int) -> Tensor:
    """Images ``[4,3,side,side]`` 0..1 of coloured spots."""
    coarse = np.random.default_rng(99).uniform(0, 1, (4, 3, 7, 9)).astype(np.float32)
    return nn.functional.interpolate(torch.from_numpy(coarse), size=(side, side), mode="bicubic")


def _last_linear(module: nn.Module) -> Any:
    return [part for part in module.modules() if isinstance(part, nn.Linear)][-1]


def _spread(network: nn.Module, image: Tensor, layer: Any, std: float) -> None:
    """Scales and shifts a layer so that its values have mean 0 and a deviation over the queries."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        network(image)
        handle.remove()
        values = seen[-1].flatten(0, -2)
        factor = std / values.std(0).mean()
        layer.weight *= factor
        layer.bias.copy_((layer.bias - values.mean(0)) * factor)


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


class _Named(nn.Module):
    """Returns the tuple of RF-DETR by names: with 3 classes boxes and logits have the same size."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        names = "pred_boxes", "pred_logits", "pred_masks"
        return dict(zip(names, self.network(image), strict=True))


class _Output(dict[str, Tensor]):
    """A dictionary whose entries are attributes too, as the library's are."""

    __getattr__ = dict.__getitem__


LIBRARIES: dict[str, Callable[[], LibraryNetwork]] = {
    "mask-rcnn": mask_rcnn,
    "mask-rcnn-hard": mask_rcnn_hard,
    "mask2former": mask2former,
    "maskformer": maskformer,
    "rfdetr": rfdetr_seg,
}


def query_output(tensors: list[Tensor]) -> dict[str, Tensor]:
    """Class and mask logits, in whichever order, as the library's own output."""
    logits, masks = sorted(tensors, key=lambda tensor: tensor.ndim)
    return _Output(class_queries_logits=logits, masks_queries_logits=masks)
