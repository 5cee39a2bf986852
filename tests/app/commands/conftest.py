"""The packages' fixtures, for the tests of the commands."""

from __future__ import annotations

from export_fixtures import deeplab, deeplab_file, deeplab_onnx, small, small_onnx
from photo_fixtures import make_classifier, toy_folder
from runtime_fixtures import kit, minute, session, tiny_bundle, video
from train_fixtures import make_method, make_run, open_toy, toy

__all__ = [
    "deeplab",
    "deeplab_file",
    "deeplab_onnx",
    "kit",
    "make_classifier",
    "make_method",
    "make_run",
    "minute",
    "open_toy",
    "session",
    "small",
    "small_onnx",
    "tiny_bundle",
    "toy",
    "toy_folder",
    "video",
]
