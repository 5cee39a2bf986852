"""The live loop of libtrocar from Python: results as `Session.run` gives them, states, errors."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from trocar.contract.errors import ArgumentError, BundleError, MissingExtraError
from trocar.contract.media.clock import now_ns
from trocar.contract.results import FrameResult
from trocar.runtime.native import NativeLive
from trocar.runtime.session import Session


def equal(one: FrameResult, other: FrameResult) -> None:
    assert one.labels is not None
    assert other.labels is not None
    assert (one.labels == other.labels).all()
    assert [i.to_dict() for i in one.instruments] == [i.to_dict() for i in other.instruments]
    assert one.frame_size == other.frame_size


def test_results_are_those_of_a_session(library: str, tiny_bundle: Path, tiny: ModuleType) -> None:
    frames = [tiny.tiny_frame(240, 320, shift=3 * i) for i in range(3)]
    with (
        Session.open(tiny_bundle, threads=1) as session,
        NativeLive(tiny_bundle, library=Path(library), size=(240, 320), threads=1) as live,
    ):
        assert live.read() is None
        assert live.counts().state == "WAITING"
        assert live.counts().result_age_ms is None
        for number, frame in enumerate(frames):
            captured = now_ns() - 5_000_000
            assert live.submit(frame, captured_ns=captured) == number
            result = live.wait(seconds=20)
            assert result is not None
            equal(result, session.run(frame))
            assert result.frame_id == number
            assert result.age_ms >= 5
            assert abs(result.captured_ns - captured) < 2_000_000
            assert result.backend == "onnxruntime"
            assert result.stages_ms["infer"] > 0
        assert live.read() is None
        # A strided view and another size are taken, too.
        view = tiny.tiny_frame(120, 400)[:, ::2]
        live.submit(view)
        result = live.wait(seconds=20)
        assert result is not None
        equal(result, session.run(np.ascontiguousarray(view)))
        counts = live.counts()
        assert (counts.processed, counts.dropped, counts.failed) == (4, 0, 0)
        assert counts.error is None


def test_the_log_gets_all_results_in_order(
    library: str, tiny_bundle: Path, tiny: ModuleType
) -> None:
    frame = tiny.tiny_frame(240, 320)
    options = {"threads": 1, "max_age_ms": 20.0, "labels": False}
    with NativeLive(tiny_bundle, library=Path(library), size=(240, 320), **options) as live:
        for processed in (1, 2, 3):
            live.submit(frame)
            for _ in range(2000):
                if live.counts().processed == processed:
                    break
                time.sleep(0.01)
        # The ring is written just after the count.
        found = [live.wait(seconds=5, order="next") for _ in range(3)]
        assert [None if one is None else one.frame_id for one in found] == [0, 1, 2]
        assert found[0] is not None
        assert found[0].labels is None
        time.sleep(0.03)
        assert live.counts().state == "STALE"


def test_classifiers_give_scores(library: str, plain_bundle: Path) -> None:
    frame = np.full((60, 80, 3), 90, np.uint8)
    with (
        Session.open(plain_bundle, threads=1) as session,
        NativeLive(plain_bundle, library=Path(library), size=(60, 80), threads=1) as live,
    ):
        live.submit(frame)
        result = live.wait(seconds=20)
        expected = session.run(frame)
        assert result is not None
        assert result.scores is not None
        assert expected.scores is not None
        assert (result.scores == expected.scores).all()
        assert result.labels is None
        assert result.instruments == ()


def test_what_is_wrong_is_said_with_a_remedy(
    library: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    built = Path(library)
    with pytest.raises(MissingExtraError, match="is no libtrocar") as missing:
        NativeLive(tiny_bundle, library=tmp_path / "none.so", size=(240, 320))
    assert missing.value.remedy
    with pytest.raises(BundleError):
        NativeLive(tmp_path / "none.trocar", library=built, size=(240, 320))
    with pytest.raises(ArgumentError, match=r"3\.\.256"):
        NativeLive(tiny_bundle, library=built, size=(240, 320), ring=1)
    with NativeLive(tiny_bundle, library=built, size=(240, 320), threads=1) as live:
        with pytest.raises(ArgumentError, match="expected uint8"):
            live.submit(np.zeros((4, 4), np.uint8))
        with pytest.raises(ArgumentError, match="captured_ns"):
            live.submit(np.zeros((4, 4, 3), np.uint8), captured_ns=now_ns() + 10**11)
        with pytest.raises(ArgumentError, match="expected newest or next"):
            live.read(order="last")
        live.close()  # twice is allowed
