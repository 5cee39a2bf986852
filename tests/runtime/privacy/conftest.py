"""The out-of-body model of this folder's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from body_film import make_body_bundle

from trocar.runtime.privacy.body import BodyClassifier, open_body_classifier


@pytest.fixture(scope="session")
def body_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_body_bundle(tmp_path_factory.mktemp("body") / "body.trocar")


@pytest.fixture
def body(body_bundle: Path) -> Iterator[BodyClassifier]:
    with open_body_classifier(body_bundle) as opened:
        yield opened
