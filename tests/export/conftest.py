"""The exporter's fixtures; they stand in ``tests/support`` for the commands' tests."""

from __future__ import annotations

from export_fixtures import deeplab, deeplab_file, deeplab_onnx, small, small_onnx

__all__ = ["deeplab", "deeplab_file", "deeplab_onnx", "small", "small_onnx"]
