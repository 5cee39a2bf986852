"""Frames at a camera's rate: ages, dropped frames, clocks, and what the table says."""

from __future__ import annotations

import ctypes
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from nv12_bundles import make_nv12_bundle
from rich.console import Console

from trocar.commands.benchmark import benchmark as command
from trocar.console.run import rates_table
from trocar.contract.errors import ArgumentError, BackendError
from trocar.runtime import clocks
from trocar.runtime.benchmark import LiveRow, at_rate, live_benchmark
from trocar.runtime.clocks import clock_mhz
from trocar.runtime.devices import Device
from trocar.runtime.session import Session


def slowed(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Every run takes so much longer."""
    infer = Session.infer

    def slow(self: Session, batch: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
        time.sleep(seconds)
        return infer(self, batch)

    monkeypatch.setattr(Session, "infer", slow)


def onnx_rows(path: Path, rates: tuple[float, ...]) -> list[LiveRow]:
    """The rows of the first backend; the others do not run."""
    rows = live_benchmark(path, rates=rates, seconds=0.1, threads=1, size=(48, 64))
    return [next(rows) for _ in rates]


def test_a_slow_model_drops_frames_and_ages(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, 0.04)
    (row,) = onnx_rows(tiny_bundle, (500.0,))
    assert (row.backend, row.device, row.rate, row.reason) == ("onnxruntime", "cpu", 500.0, "")
    # 50 frames in 0.1 s; each run takes the time of 20 of them.
    assert row.processed + row.dropped == 50
    assert row.dropped >= 20
    assert 40 <= row.run_p50 <= row.age_p99
    assert row.alone_p50 >= 40
    assert row.age_p50 <= row.age_p99


def test_a_model_that_fails_at_the_second_rate_keeps_the_row_of_the_first(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = at_rate._fed

    def failing(*given: Any, rate: float, **more: Any) -> Any:
        if rate == 200:
            raise BackendError("out of memory", remedy="")
        return feed(*given, rate=rate, **more)

    monkeypatch.setattr(at_rate, "_fed", failing)
    rows = live_benchmark(tiny_bundle, rates=(100.0, 200.0, 50.0), seconds=0.05, threads=1)
    found = [next(rows) for _ in range(3)]
    assert [(row.rate, row.reason) for row in found] == [
        (100.0, ""), (200.0, "out of memory"), (50.0, "out of memory"),
    ]  # fmt: skip


def test_the_age_counts_from_the_cameras_time(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame waits while the one before it is run: that is part of its age."""
    slowed(monkeypatch, 0.03)
    (row,) = onnx_rows(tiny_bundle, (50.0,))
    assert row.age_p99 > row.run_p50 + 5


def test_the_command_prints_rows_and_the_reasons_of_the_others(tiny_bundle: Path) -> None:
    arguments = [str(tiny_bundle), "--live", "200,400", "--seconds", "0.02", "--threads", "1"]
    done = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    rows = [json.loads(line) for line in done.output.splitlines()]
    assert [row["rate"] for row in rows[:2]] == [200, 400]
    for row in rows:
        assert bool(row["reason"]) == (row["processed"] == 0)
        assert row["reason"] or row["processed"] + row["dropped"] >= 4
    assert {"tensorrt", "tensorrt-rtx"} <= {row["backend"] for row in rows}


def test_a_wrong_rate_is_refused(tiny_bundle: Path) -> None:
    for rates in ("0", "25,x", "nan", "2000", ""):
        done = CliRunner().invoke(command, [str(tiny_bundle), "--live", rates])
        assert done.exit_code == 2
        assert "frames a second" in done.output
    with pytest.raises(ArgumentError, match="expected above 0"):
        next(live_benchmark(tiny_bundle, rates=(-1.0,)))


def test_the_table_tells_dropped_frames_clocks_and_reasons() -> None:
    ran: dict[str, Any] = {"backend": "onnxruntime", "device": "cuda:0", "precision": "fp32"}
    rows = [
        LiveRow(**ran, rate=25, fed=25, age_p50=19.2, age_p99=22, run_p50=19, alone_p50=7.2,
                processed=70, dropped=5, clock_mhz=345.0, alone_clock_mhz=1980.0),
        LiveRow(**ran, rate=60, fed=31, processed=93),
        LiveRow(**ran | {"backend": "tensorrt"}, rate=25, reason="no engine"),
        LiveRow(**ran | {"backend": "tensorrt"}, rate=60, reason="no engine"),
    ]  # fmt: skip
    page = io.StringIO()
    Console(width=80, file=page).print(rates_table(rows))
    text = page.getvalue()
    for part in ("5 of 75", "345", "1980", "19.2", "7.2", "only 31 of 60 frames/s were fed"):
        assert part in text
    assert text.count("no engine") == 1


def test_the_clock_of_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "_CPU_ROOT", tmp_path)
    monkeypatch.setattr(clocks, "_CPU_INFO", tmp_path / "cpuinfo")
    assert clock_mhz(Device("cpu")) is None
    (tmp_path / "cpuinfo").write_text("processor\t: 0\ncpu MHz\t\t: 2100.5\ncpu MHz\t\t: 900.0\n")
    assert clock_mhz(Device("cpu")) == 2100.5
    folder = tmp_path / "cpu0" / "cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_cur_freq").write_text("3400000\n")
    assert clock_mhz(Device("cpu")) == 3400.0


class FakeLibrary:
    """CUDA and NVML, which number the GPUs differently: the bus address decides."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return 0

    def cuDeviceGetPCIBusId(self, bus: Any, length: int, device: Any) -> int:
        bus.value = b"0000:3%d:00.0" % device.value
        return 0

    def nvmlDeviceGetHandleByPciBusId_v2(self, bus: Any, handle: Any) -> int:
        handle._obj.value = {b"0000:31:00.0": 7}.get(bus.value)
        return 0 if handle._obj.value else 6

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int, clock: Any) -> int:
        clock._obj.value = 1000 + handle.value if kind == 1 else 1
        return 0


def test_the_clock_of_a_gpu_is_that_of_its_place_on_the_bus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeLibrary())
    assert clock_mhz(Device("cuda", 1)) == 1007.0
    assert clock_mhz(Device("cuda", 0)) is None

    def missing(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert clock_mhz(Device("cuda", 1)) is None


@pytest.mark.parametrize("flags", [(), ("--live", "200")])
def test_frames_are_given_as_nv12(
    flags: tuple[str, ...], tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bool] = []
    infer = Session.infer

    def watched(self: Session, frames: Any) -> Any:
        given.append(isinstance(frames, list))
        return infer(self, frames)

    monkeypatch.setattr(Session, "infer", watched)
    bundle = make_nv12_bundle(tmp_path / "planes.trocar")
    words = ("--nv12", "--seconds", "0.05", "--threads", "1", "--json", *flags)
    done = CliRunner().invoke(command, [str(bundle), *words], catch_exceptions=False)
    rows = [json.loads(line) for line in done.output.splitlines()]
    assert rows[0]["backend"] == "onnxruntime"
    assert not rows[0]["reason"]
    # The golden frame is RGB; all that is timed is NV12.
    assert given.count(False) <= len(rows)
    assert given.count(True) > 10
    with pytest.raises(ArgumentError, match="has no graph for NV12") as caught:
        CliRunner().invoke(command, [str(tiny_bundle), *words], catch_exceptions=False)
    assert "--nv12" in caught.value.remedy
