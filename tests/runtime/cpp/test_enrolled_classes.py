"""Trained classifiers in C++: the same scores as in Python, before and after classes are enrolled.

The bundles are those that `trocar train` and `trocar export` make; libtrocar is built once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from trocar.runtime.enrolment.enroll import enroll, remove, undo
from trocar.runtime.session import Session


class Both:
    """Opens a bundle in both languages and compares all that they say."""

    def __init__(
        self, cpp: ModuleType, library: str, onnxruntime: str, photo_kit: ModuleType
    ) -> None:
        self.cpp, self.library, self.onnxruntime, self.photo_kit = (
            cpp,
            library,
            onnxruntime,
            photo_kit,
        )

    @contextmanager
    def opened(self, path: Path) -> Iterator[tuple[Any, Session]]:
        native = self.cpp.Session(self.library, str(path), library=self.onnxruntime, threads=1)
        with Session.open(path, threads=1) as python:
            yield native, python
        native.close()

    def check(self, path: Path) -> tuple[str, ...]:
        """Names of the classes; fails where scores, embeddings or classes differ."""
        pictures = [self.photo_kit.picture(kind, 300, 72) for kind in self.photo_kit.KINDS]
        with self.opened(path) as (native, python):
            names = python.classes.names
            assert native.info.class_count == native.info.score_count == len(names)
            for picture in pictures:
                self.same(native.run(picture), python.infer(picture[None]))
            self.same(native.run(*pictures[:4]), python.infer(np.stack(pictures[:4])))
            odd = self.photo_kit.picture("hook", 301, 91)
            self.same(
                native.run(odd[:, :63]), python.infer(np.ascontiguousarray(odd[None, :, :63]))
            )
        return names

    @staticmethod
    def same(got: list[dict[str, Any]], expected: dict[str, Any]) -> None:
        for i, one in enumerate(got):
            for name in ("scores", "embedding"):
                if name in expected:
                    theirs = expected[name][i].astype(np.float32)
                    np.testing.assert_array_equal(one[name], theirs)


@pytest.fixture(scope="module")
def both(cpp: ModuleType, library: str, onnxruntime_library: str, photo_kit: ModuleType) -> Both:
    return Both(cpp, library, onnxruntime_library, photo_kit)


@pytest.mark.parametrize("kind", ["few", "tail"])
def test_enrolled_classes_are_taken_as_python_takes_them(
    kind: str,
    few_bundle: Path,
    tail_bundle: Path,
    both: Both,
    photo_kit: ModuleType,
    tmp_path: Path,
) -> None:
    source = {"few": few_bundle, "tail": tail_bundle}[kind]
    path = Path(shutil.copytree(source, tmp_path / "model.trocar"))
    before = both.check(path)
    enroll(path, "bone saw", [photo_kit.picture("bone saw", n) for n in range(100, 104)], threads=1)
    enroll(path, "clip applier", [photo_kit.picture("clip applier", 100)], threads=1)
    assert set(both.check(path)) == {*before, "bone saw", "clip applier"}
    remove(path, "bone saw")
    assert set(both.check(path)) == {*before, "clip applier"}
    undo(path)
    assert set(both.check(path)) == {*before, "bone saw", "clip applier"}


def test_a_classifier_with_fixed_classes(plain_bundle: Path, both: Both) -> None:
    assert len(both.check(plain_bundle)) == 4
