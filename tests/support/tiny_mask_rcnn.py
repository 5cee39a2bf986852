"""A Mask R-CNN of torchvision small enough for tests, with random weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator


class _Backbone(nn.Module):
    out_channels = 8

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 5, 4, 2), nn.ReLU(), nn.Conv2d(8, 8, 5, 2, 2))

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.layers(image)
        return result


def make_mask_rcnn(classes: int = 4, size: tuple[int, int] = (48, 64)) -> nn.Module:
    """The network: one level of features, 20 proposals, at most 6 detections.

    Weights are scaled so that boxes stay near their anchors and masks are not all near 0.5.
    """
    torch.manual_seed(3)
    network = MaskRCNN(
        _Backbone(),
        num_classes=classes,
        min_size=min(size),
        max_size=max(size),
        rpn_anchor_generator=AnchorGenerator(((12, 24),), ((0.7, 1.4),)),
        rpn_pre_nms_top_n_test=40,
        rpn_post_nms_top_n_test=20,
        box_detections_per_img=6,
        box_nms_thresh=0.3,
    )
    with torch.no_grad():
        network.roi_heads.box_predictor.bbox_pred.weight *= 0.1
        network.roi_heads.box_predictor.cls_score.weight *= 60
        network.roi_heads.mask_predictor.mask_fcn_logits.weight *= 100
        network.rpn.head.cls_logits.weight *= 100
    return network.eval()
