"""The fixtures of training; they stand in ``tests/support`` for the commands' tests."""

from __future__ import annotations

from train_fixtures import make_method, make_run, open_toy, toy

__all__ = ["make_method", "make_run", "open_toy", "toy"]
