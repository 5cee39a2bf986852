"""Cores are divided by measurement, where a run is long and the machine has many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trocar.contract.errors import BackendError
from trocar.runtime.pipeline import assemble, core_division
from trocar.runtime.pipeline.assemble import divide_cores
from trocar.runtime.pipeline.core_division import CoreDivision, divisions, fastest
from trocar.runtime.pipeline.options import ModelOptions
from trocar.runtime.session import Session
from trocar.runtime.sources.open import open_source

SIZE = (48, 64)
LONG = 10_000


@pytest.fixture
def session(tiny_bundle: Path) -> Iterator[Session]:
    with Session.open(tiny_bundle, threads=1) as opened:
        yield opened


def is_open(session: Session) -> bool:
    try:
        session.warm_up(1, *SIZE)
    except BackendError:
        return False
    return True


def test_all_cores_are_used_in_every_division() -> None:
    assert [str(one) for one in divisions(8)] == ["8 x 1", "4 x 2", "2 x 4", "1 x 8"]
    assert [str(one) for one in divisions(6)] == ["6 x 1", "3 x 2", "1 x 4"]
    assert [str(one) for one in divisions(1)] == ["1 x 1"]


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ((20.0, 23.0, 19.0), CoreDivision(workers=2, threads=2)),
        # Within the noise of a short measurement.
        ((20.0, 21.0, 21.5), CoreDivision(workers=4, threads=1)),
    ],
)
def test_the_fastest_division_is_taken_if_it_is_clearly_faster(
    tiny_bundle: Path,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    rates: tuple[float, ...],
    chosen: CoreDivision,
) -> None:
    opened = {1: session}

    def reopen(threads: int) -> Session:
        opened[threads] = Session.open(tiny_bundle, threads=threads)
        return opened[threads]

    monkeypatch.setattr(
        core_division,
        "measured_rates",
        lambda sessions, size: dict(zip(sessions, rates, strict=True)),
    )
    found, division, note = fastest(session, reopen, size=SIZE, frames=LONG, cores=4)
    assert division == chosen
    assert found is opened[chosen.threads]
    assert [threads for threads, one in opened.items() if is_open(one)] == [chosen.threads]
    assert note.startswith(f"{chosen.workers} frames at once with {chosen.threads} thread(s) each")
    assert "4 x 1 20.0" in note
    assert "--threads" in note
    found.close()


def test_it_is_measured_on_the_model_itself(tiny_bundle: Path, session: Session) -> None:
    found, division, _ = fastest(
        session,
        lambda threads: Session.open(tiny_bundle, threads=threads),
        size=SIZE,
        frames=LONG,
        cores=4,
    )
    assert is_open(found)
    assert division in divisions(4)
    rates = core_division.measured_rates({division: found}, SIZE)
    assert rates[division] > 0
    found.close()


def test_a_model_that_does_not_open_again_leaves_none_open(session: Session) -> None:
    def reopen(threads: int) -> Session:
        raise BackendError("no memory", remedy="close other programs")

    with pytest.raises(BackendError, match="no memory"):
        fastest(session, reopen, size=SIZE, frames=LONG, cores=4)
    assert not is_open(session)


@pytest.mark.parametrize(
    ("size", "frames", "cores"),
    [(None, LONG, 8), (SIZE, None, 8), (SIZE, 500, 8), (SIZE, LONG, 2)],
    ids=["size unknown", "length unknown", "short", "few cores"],
)
def test_nothing_is_measured_where_it_cannot_pay(
    session: Session, size: tuple[int, int] | None, frames: int | None, cores: int
) -> None:
    def reopen(threads: int) -> Session:
        raise AssertionError("was measured")

    found, division, note = fastest(session, reopen, size=size, frames=frames, cores=cores)
    assert (found, note) == (session, "")
    assert division == CoreDivision(workers=cores, threads=1)


def test_the_flag_decides_and_a_short_file_measures_nothing(
    tiny_bundle: Path, session: Session, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assemble, "usable_cores", lambda: 8)
    source = open_source(video)
    try:
        for threads, workers in ((None, 8), (2, 4), (16, 1)):
            model = ModelOptions(path=tiny_bundle, threads=threads)
            found = divide_cores(session, model, source=source, max_frames=None)
            assert found == (session, workers, "")
    finally:
        source.close()
