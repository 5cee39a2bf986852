"""Which labels `--label-share` uses: those of whole videos where the set knows them."""

from __future__ import annotations

import layouts
import pytest

from trocar.train.data.open import subsample_labels
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> FrameSet:
    opened: FrameSet = open_frames(layouts.uw_sinus(tmp_path_factory.mktemp("sinus")))
    return opened.labelled()


def test_labels_are_hidden_by_video(frames: FrameSet) -> None:
    assert len(frames.groups) == 4
    drawn = set()
    for seed in range(6):
        labelled, rest = subsample_labels(frames, 0.5, seed)
        assert rest is not None
        assert not set(labelled.groups) & set(rest.groups)
        assert len(labelled) + len(rest) == len(frames)
        assert abs(len(labelled) / len(frames) - 0.5) <= 0.25
        assert f"{len(labelled.groups)} of 4 groups" in labelled.notes[-1]
        drawn.add(labelled.groups)
    assert len(drawn) > 1
    few, _ = subsample_labels(frames, 0.01, 0)
    assert len(few.groups) == 1


def test_labels_are_hidden_by_frame_where_it_is_asked_for_or_no_video_is_known(
    frames: FrameSet,
) -> None:
    labelled, rest = subsample_labels(frames, 0.5, 0, by_frame=True)
    assert len(labelled) == round(0.5 * len(frames))
    assert rest is not None
    assert set(labelled.groups) & set(rest.groups)
    one = frames.only(item.name for item in frames if item.group == frames.groups[0])
    labelled, rest = subsample_labels(one, 0.5, 0)
    assert len(labelled) == max(round(0.5 * len(one)), 1)
    assert subsample_labels(frames, 1.0, 0) == (frames, None)
