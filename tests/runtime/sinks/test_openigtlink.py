"""OpenIGTLink: a client of the reference library gets every frame; no client stops a run."""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from igtl_clients import Client, build_client, pixel_hash
from numbered_videos import write
from tiny_bundle import make_tiny_bundle, tiny_frame

from trocar.commands.run import run
from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError, MissingExtraError, SinkError
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.sinks import openigtlink
from trocar.runtime.sinks.base import FrameEvent, notes_of
from trocar.runtime.sinks.openigtlink import server
from trocar.runtime.sinks.openigtlink.server import MAX_CLIENTS
from trocar.runtime.sinks.openigtlink.sink import (
    AWAY_MM,
    MAX_PLACES,
    IgtlOptions,
    OpenIGTLinkSink,
    TipPlaces,
)
from trocar.runtime.sources.base import Frame

TABLE = ClassTable.from_names(["background", "grasper"])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_client(tmp_path_factory.mktemp("client"))


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(6):
        picture = tiny_frame(48, 64, shift=2 * number)[..., ::-1]
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    return folder


@pytest.fixture
def clients(client: Path, monkeypatch: pytest.MonkeyPatch) -> list[Client]:
    """Runs start a client before their first frame; here it is afterwards."""
    started: list[Client] = []
    monkeypatch.setattr(
        OpenIGTLinkSink, "open", lambda sink, info: started.append(Client(client, sink))
    )
    return started


def instrument(track: int | None = None, tips: int = 1) -> Instrument:
    places = ((3.5, 2.5), (4.5, 1.5))[:tips]
    return Instrument(
        class_id=1,
        class_name="grasper",
        score=0.9,
        box=(0.0, 0.0, 4.0, 3.0),
        centroid=(2.0, 2.0),
        area=9.0,
        axis=(0.6, 0.8),
        angle=53.13,
        tips=places,
        track_id=track,
    )


def event(number: int, *instruments: Instrument, size: tuple[int, int] = (6, 8)) -> FrameEvent:
    image = np.full((*size, 3), number, np.uint8)
    frame = Frame(image=image, index=number, time=0.0, captured_ns=0)
    result = FrameResult(
        frame_id=number,
        time=0.0,
        captured_ns=0,
        age_ms=0.0,
        frame_size=size,
        labels=np.full((2, 2), number % 2, np.uint8),
        instruments=instruments,
    )
    return FrameEvent(frame=frame, result=result, painter=Painter(TABLE))


def numbers(line: str, first: int) -> list[float]:
    return [float(word) for word in line.split()[first:]]


def test_a_client_gets_every_frame_of_a_run(
    clients: list[Client], frames: Path, tmp_path: Path
) -> None:
    bundle, before = make_tiny_bundle(tmp_path / "m.trocar"), time.time()
    outputs = ["--json", tmp_path / "out.jsonl", "--save-masks", tmp_path / "masks"]
    words = [bundle, frames, *outputs, "--threads", 1, "--igtl", "127.0.0.1:0"]
    done = CliRunner().invoke(run, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "OpenIGTLink on 127.0.0.1:" in done.stderr
    lines = clients[0].lines()
    results = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    texts = [line.split(" ", 3)[3] for line in lines if line.startswith("STRING TrocarResult ")]
    assert [json.loads(text) for text in texts] == results
    assert len(results) == 6
    assert all(found["instruments"] for found in results)
    images = [line for line in lines if line.startswith("IMAGE TrocarImage ")]
    labels = [line for line in lines if line.startswith("IMAGE TrocarLabels ")]
    files = zip(sorted(frames.iterdir()), sorted((tmp_path / "masks").glob("*.png")), strict=True)
    for (file, mask), image, label in zip(files, images, labels, strict=True):
        rgb = cv2.imread(str(file))[..., ::-1]
        grey = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
        # Width, height, slices, channels, type (3: uint8), pixels, matrix: the centre in mm.
        matrix = [-1, 0, 0, -31.5, 0, -1, 0, -23.5, 0, 0, 1, 0]
        assert numbers(image, 3) == [64, 48, 1, 3, 3, pixel_hash(rgb), *matrix]
        assert numbers(label, 3) == [64, 48, 1, 1, 3, pixel_hash(grey), *matrix]
    # Tips of a frame come between its picture and its result, with one time stamp for all.
    place = lines.index(next(line for line in lines if line.startswith("STRING")))
    of_first = lines[:place]
    tips = {line.split()[1]: numbers(line, 3) for line in of_first if line[:9] == "TRANSFORM"}
    for number, one in enumerate(results[0]["instruments"], start=1):
        for which, (x, y) in enumerate(one["tips"], start=1):
            pose = np.array(tips[f"TrocarTip{number}_{which}"]).reshape(3, 4)
            assert pose[:, 3] == pytest.approx([0.5 - x, 0.5 - y, 0], abs=0.006)
            assert pose[:, :3] @ pose[:, :3].T == pytest.approx(np.eye(3), abs=1e-6)
            assert pose[:2, 0] == pytest.approx([-v for v in one["axis"]], abs=1e-4)
            assert np.linalg.det(pose[:, :3]) == pytest.approx(1, abs=1e-6)
    assert len({line.split()[2] for line in of_first}) == 1
    stamps = [float(line.split()[2]) for line in images]
    assert stamps == sorted(stamps)
    assert before <= stamps[0] <= time.time()


def test_a_live_run_serves_each_result_with_its_own_frame(
    clients: list[Client], tmp_path: Path
) -> None:
    bundle = make_tiny_bundle(tmp_path / "m.trocar")
    write(tmp_path / "v.mp4", range(8))
    words = [bundle, tmp_path / "v.mp4", "--live", "--json", tmp_path / "out.jsonl"]
    words += ["--threads", 1, "--igtl", ":0"]
    done = CliRunner().invoke(run, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    lines = clients[0].lines()
    written = (tmp_path / "out.jsonl").read_text().splitlines()
    texts = [json.loads(line.split(" ", 3)[3]) for line in lines if line.startswith("STRING")]
    assert texts
    assert texts == [json.loads(line) for line in written]
    assert sum(line.startswith("IMAGE TrocarImage") for line in lines) == len(texts)


def test_a_port_in_use_is_an_error_before_the_run(frames: Path, tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "m.trocar")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [str(bundle), str(frames), "--json", str(tmp_path / "o.jsonl"), "--igtl", str(port)]
        with pytest.raises(SinkError, match=r"cannot serve OpenIGTLink on .*in use") as caught:
            CliRunner().invoke(run, words, catch_exceptions=False)
    assert f"--igtl 127.0.0.1:{port + 1}" in caught.value.remedy
    assert not (tmp_path / "o.jsonl").exists()


@pytest.mark.parametrize(
    ("host", "remedy"),
    [("192.0.2.1", "no address of this machine"), ("no.such.invalid", "that name has no address")],
)
def test_an_address_of_another_machine_is_an_error(host: str, remedy: str) -> None:
    with pytest.raises(SinkError) as caught:
        OpenIGTLinkSink(IgtlOptions(host=host, port=0))
    assert remedy in caught.value.remedy


def test_archives_have_no_server(frames: Path, tmp_path: Path) -> None:
    words = [str(tmp_path), str(frames), "--out", str(tmp_path / "out"), "--igtl", "0"]
    with pytest.raises(ConfigError, match="--igtl is not for archives"):
        CliRunner().invoke(run, words, catch_exceptions=False)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, f"{openigtlink.__name__}.messages", raising=False)
    monkeypatch.delattr(openigtlink, "messages", raising=False)
    monkeypatch.setitem(sys.modules, "fastcrc.crc64", None)
    with pytest.raises(MissingExtraError) as caught:
        OpenIGTLinkSink(IgtlOptions(port=0))
    assert "trocar[igtl]" in caught.value.remedy


def test_a_client_that_reads_nothing_loses_frames_and_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "QUEUE_BYTES", 2 << 20)
    sink = OpenIGTLinkSink(IgtlOptions(port=0))
    address = ("127.0.0.1", int(sink.address.rpartition(":")[2]))
    large = event(1, size=(600, 800))
    with socket.create_connection(address) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert sink.clients == 1
        started = time.monotonic()
        for _ in range(20):
            sink.write(large)
        # 38 MB for a client that takes 2 MB and the system's buffers.
        assert time.monotonic() - started < 5
        sink.discard()
        (note,) = notes_of([sink])
    assert "clients did not keep up and lost" in note
    assert note.endswith("of 20 frames")


def test_nobody_listens_and_a_client_that_goes(client: Path) -> None:
    sink = OpenIGTLinkSink(IgtlOptions(port=0))
    port = int(sink.address.rpartition(":")[2])
    sink.write(event(0))  # Nobody is there.
    with socket.create_connection(("127.0.0.1", port)):
        assert sink.clients == 1
        sink.write(event(1))
    while sink.clients:  # It has gone, with what it did not read.
        sink.write(event(2))
        time.sleep(0.005)
    again = Client(client, sink)
    sink.write(event(3, instrument(track=7, tips=1)))
    sink.write(event(4))
    sink.close()
    lines = again.lines()
    found = [line.split()[:2] for line in lines]
    tips = [["TRANSFORM", "TrocarTip1_1"], ["TRANSFORM", "TrocarTip1_2"]]
    pictures = [["IMAGE", "TrocarImage"], ["IMAGE", "TrocarLabels"]]
    assert found == [*pictures, *tips, ["STRING", "TrocarResult"]] * 2
    heights = [numbers(line, 3)[11] for line in lines if line.startswith("TRANSFORM")]
    # The second tip is not there; in the second frame none is.
    assert heights == [0, AWAY_MM, AWAY_MM, AWAY_MM]
    assert notes_of([sink]) == ()


def test_only_so_many_clients() -> None:
    sink = OpenIGTLinkSink(IgtlOptions(port=0))
    port = int(sink.address.rpartition(":")[2])
    opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(MAX_CLIENTS + 1)]
    assert sink.clients == MAX_CLIENTS
    assert opened[-1].recv(1) == b""
    sink.discard()
    for one in opened:
        one.close()


def test_an_instrument_keeps_its_place_while_it_is_tracked() -> None:
    places = TipPlaces()

    def tracks(*ids: int | None) -> list[int | str | None]:
        assigned = places.assign(tuple(instrument(track) for track in ids))
        return ["none" if one is None else one.track_id for one in assigned]

    assert tracks(7, 3) == [7, 3]
    assert tracks(3) == ["none", 3]
    assert tracks(3, 7) == [7, 3]
    assert tracks(7) == [7, "none"]
    # A new one takes the place that is free; the one that comes back, another.
    assert tracks(7, 9) == [7, 9]
    assert tracks(3, 7, 9) == [7, 9, 3]
    assert tracks() == ["none"] * 3
    assert len(tracks(*range(100, 130))) == MAX_PLACES
    assert TipPlaces().assign((instrument(), instrument()))[1] is not None
    untracked = TipPlaces()
    untracked.assign((instrument(), instrument()))
    assert len(untracked.assign((instrument(),))) == 2


def test_a_text_that_is_too_long_keeps_the_first_instruments() -> None:
    from trocar.runtime.sinks.openigtlink.sink import _text

    many = event(0, *(instrument(number) for number in range(300))).result
    assert many is not None
    data = json.loads(_text(many, 65535))
    assert len(data["instruments"]) == 150
    assert data["left_out"] == 150


def test_streams_have_ports_and_names_of_their_own() -> None:
    options = IgtlOptions(port=18944)
    assert options.numbered(0) == options
    assert options.numbered(2) == IgtlOptions(port=18946, prefix="Trocar2")
