"""The second graph of every task and precision gives Python's bytes in C++."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import compare_languages as compare
import numpy as np
import pytest
from export_fixtures import small
from native_planes import run_planes
from nv12_forms import TASKS, exported, nv12_sources

from trocar.contract.media.nv12 import COLOURS, nv12_from_rgb
from trocar.runtime.session import Session

__all__ = ["nv12_sources", "small"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("task", TASKS)
def test_planes_give_pythons_bytes_in_every_form(
    task: str, precision: str, nv12_sources: Any, cpp: ModuleType, library: str,
    onnxruntime_library: str, tmp_path: Path,
) -> None:  # fmt: skip
    source, frames = nv12_sources(task)
    bundle = exported(source, frames, tmp_path / "out.trocar", precision)
    native = cpp.Session(library, str(bundle), library=onnxruntime_library, threads=1)
    assert native.info.takes_nv12 == 1
    with Session.open(bundle, threads=1) as python:
        for number, frame in enumerate(frames[:4]):
            # Odd sides too.
            image = np.ascontiguousarray(frame[number % 2 :, number // 2 :])
            picture = nv12_from_rgb(image, COLOURS[number % len(COLOURS)])
            (got,), expected = run_planes(cpp, native, picture), python.run(picture)
            if expected.scores is None:
                np.testing.assert_array_equal(got["labels"], expected.labels)
                compare.assert_same(got["instruments"], expected.instruments)
            else:
                scores = np.asarray(expected.scores, np.float32)
                np.testing.assert_array_equal(got["scores"], scores)
            if expected.confidence is not None:
                confidence = expected.confidence.astype(np.float32)
                np.testing.assert_array_equal(got["confidence"], confidence)
    native.close()
