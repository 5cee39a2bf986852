"""Instance bundles against the libraries' own post-processing: masks, counts, classes, time.

python benchmarks/instance_libraries.py --frames 200 --cpp-library runtime/cpp/build/libtrocar.so

Needs transformers and rfdetr for three of the networks, and supervision for its annotators; what is
not installed is left out and said. Networks have random weights: their instances mean nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from helpers.instances.libraries import CLASSES, LIBRARIES, Instance, LibraryNetwork
from numpy.typing import NDArray

from trocar.commands._models import open_model
from trocar.contract.bundle import MODEL
from trocar.contract.classes import ClassTable
from trocar.contract.instances.pairing import pair_instances
from trocar.contract.manifest import InputSpec, Manifest
from trocar.contract.results import FrameResult
from trocar.export.bundle import export_bundle
from trocar.export.cpu_session import open_cpu_session
from trocar.export.gate import ExportOptions
from trocar.export.graph.from_onnx import preprocessing_graph
from trocar.export.graph.imported.external_model import adapt_network
from trocar.export.graph.input_spec import ExternalModel, ModelSpec, instance_settings
from trocar.export.graph.instances.placement import placed_frame
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import GateFrame
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.session import Session

FULL_HD = (1080, 1920)

Prepare = Callable[[NDArray[np.uint8]], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument(
        "--seconds", type=float, default=0, help="end a network's frames then; 0: do all"
    )
    parser.add_argument("--rounds", type=int, default=10, help="of times; 0: measure none")
    parser.add_argument("--networks", default=",".join(LIBRARIES))
    parser.add_argument("--cpp-library", type=Path, help="libtrocar.so, for the columns of C++")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in given.networks.split(","):
        try:
            library = LIBRARIES[name]()
        except ImportError as error:
            print(f"{name}: left out, {error}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            row = compared(library, Path(folder) / "m.trocar", given)
        rows.append(row)
        print(json.dumps(row, indent=1), flush=True)
    if given.out is not None:
        given.out.write_text(json.dumps(rows, indent=1) + "\n")


def compared(library: LibraryNetwork, out: Path, given: argparse.Namespace) -> dict[str, Any]:
    """One network: its instances over all frames, and its times."""
    external = external_of(library)
    network = adapt_network(library.network, external, name=library.name)
    report = export_bundle(
        network,
        external.manifest,
        out,
        frames=[GateFrame(name=str(seed), image=frame_of(seed)) for seed in range(2)],
        open_model=open_model,
        options=ExportOptions(limits=loose(), location={"min_pixels": 1}),
    )
    row: dict[str, Any] = {"network": library.name, "gate": report.passed}
    native = cpp_session(given.cpp_library, out) if given.cpp_library else None
    with Session.open(out, threads=1) as session:
        prepares: dict[str, Prepare] = {
            "frames_by_opencv": lambda frame: prepared(frame, library, external.spec),
            "frames_by_graph": graph_frames(external),
        }
        row |= counted(library, prepares, session, native, given)
        if given.rounds:
            row |= timed(library, external.spec, session, out, given.rounds)
    return row


def counted(
    library: LibraryNetwork,
    prepares: dict[str, Prepare],
    session: Session,
    native: Any,
    given: argparse.Namespace,
) -> dict[str, Any]:
    """How many frames and instances agree with the library, in Python and C++."""
    stated = library.stated
    agreements = {name: Agreement() for name in [*prepares, *(["stated_rules"] if stated else [])]}
    cpp_equal = done = 0
    end = perf_counter() + (given.seconds or float("inf"))
    for seed in range(100, 100 + given.frames):
        if perf_counter() > end:
            break
        done += 1
        frame = frame_of(seed)
        result = session.run(frame)
        assert result.labels is not None
        for name, prepare in prepares.items():
            with torch.no_grad():
                output = library.network(prepare(frame))
                agreements[name].add(library.own(output, library.size), result, library.size)
                if stated is not None and name == "frames_by_graph":
                    ours = stated(output, library.size)
                    agreements["stated_rules"].add(ours, result, library.size)
        if native is not None:
            got = native.run(frame)[0]
            cpp_equal += bool(
                np.array_equal(got["labels"], result.labels)
                and got["result"].instance_count == result.instance_count
                and all(
                    one.mask is not None
                    and np.array_equal(native.mask(got, index) == 255, one.mask.full())
                    for index, one in enumerate(result.instruments)
                )
            )
    found = {name: asdict(agreement) for name, agreement in agreements.items()}
    return {"frames": done, **found, "cpp_equal": cpp_equal if native is not None else None}


@dataclass
class Agreement:
    """What agrees between a library and a bundle, over frames.

    Attributes:
        instances: Of the library.
        same_count: Frames with as many instances.
        same_classes: Frames where every visible instance has a partner of its class.
        visible: Instances of the library with a pixel that no better one covers.
        iou_99: Of these, those whose partner has an IoU of 0.99 or more.
        equal: Of these, those whose partner has the same pixels.
        min_iou: Lowest IoU of a pair.
        worst_pixels: Most pixels that differ in a pair.
        missed: Visible instances without a partner (IoU above 0.5).
        missed_pixels: Most pixels of one of them.
    """

    instances: int = 0
    same_count: int = 0
    same_classes: int = 0
    visible: int = 0
    iou_99: int = 0
    equal: int = 0
    min_iou: float = 1.0
    worst_pixels: int = 0
    missed: int = 0
    missed_pixels: int = 0

    def add(self, own: list[Instance], result: FrameResult, size: tuple[int, int]) -> None:
        """One frame: the library's instances and the bundle's result."""
        assert result.instances is not None
        assert result.labels is not None
        own = sorted(own, key=lambda one: -one[1])
        wanted = painted(own, size)
        pairs = pair_instances(wanted, result.instances, min_iou=0.5)
        numbers, areas = np.unique(wanted[wanted > 0], return_counts=True)
        # Not of `instruments`: these are only the instances that have been located.
        classes = dict(zip(result.instances.flat, result.labels.flat, strict=True))
        partners = {pair.first for pair in pairs}
        lost = [area for number, area in zip(numbers, areas, strict=True) if number not in partners]
        self.instances += len(own)
        self.same_count += result.instance_count == len(own)
        self.same_classes += not lost and all(
            classes.get(pair.second) == own[pair.first - 1][0] for pair in pairs
        )
        self.visible += len(numbers)
        self.iou_99 += sum(pair.iou >= 0.99 for pair in pairs)
        self.equal += sum(pair.differing == 0 for pair in pairs)
        self.min_iou = min([self.min_iou, *(pair.iou for pair in pairs)])
        self.worst_pixels = max([self.worst_pixels, *(pair.differing for pair in pairs)])
        self.missed += len(lost)
        self.missed_pixels = max([self.missed_pixels, *map(int, lost)])


def timed(
    library: LibraryNetwork, spec: ModelSpec, session: Session, out: Path, rounds: int
) -> dict[str, Any]:
    """Median milliseconds of interleaved rounds on a 1080p frame, and their ratios."""
    frame = frame_of(3, FULL_HD)
    parts: dict[str, Callable[[], object]] = {
        "bundle": lambda: session.run(frame),
        "library": lambda: library_run(library, spec, frame),
    }
    annotated = supervision_run(library, spec, frame)
    if annotated is not None:
        parts["library_and_supervision"] = annotated
        painter = Painter(session.manifest.classes)
        parts["bundle_and_overlay"] = lambda: painter.draw(frame, session.run(frame))
    cut = without_assembly(out / MODEL)
    if cut is not None:
        names = [output.name for output in cut.get_outputs()]
        post = post_of(library, names)
        parts["network_only"] = lambda: cut.run(names, {cut.get_inputs()[0].name: frame[None]})
        parts["network_and_library_post"] = lambda: post(
            cut.run(names, {cut.get_inputs()[0].name: frame[None]})
        )
        whole = open_cpu_session((out / MODEL).read_bytes())
        parts["graph"] = lambda: whole.run(None, {whole.get_inputs()[0].name: frame[None]})
    times: dict[str, list[float]] = {name: [] for name in parts}
    for round_number in range(rounds + 1):
        for name, part in parts.items():
            begun = perf_counter()
            part()
            if round_number:
                times[name].append(1e3 * (perf_counter() - begun))
    # The least of the rounds: another process can only add to it.
    least = {name: min(values) for name, values in times.items()}
    ratios = {"bundle_by_library": least["bundle"] / least["library"]}
    if annotated is not None:
        ratios["overlay_by_supervision"] = (
            least["bundle_and_overlay"] / least["library_and_supervision"]
        )
    if "graph" in least:
        bare = least["network_only"]
        ratios["graph_by_network"] = least["graph"] / bare
        ratios["library_post_by_network"] = least["network_and_library_post"] / bare
    return {"milliseconds": least, "ratios": ratios}


def external_of(library: LibraryNetwork) -> ExternalModel:
    """The input spec of a network."""
    height, width = library.size
    fields: dict[str, Any] = {"max_instances": 100, **library.spec}
    spec = ModelSpec(
        height=height,
        width=width,
        task="instances",
        mean=library.mean,
        std=library.std,
        **fields,
    )
    names = ["background", *(f"tool {index}" for index in range(1, CLASSES + 1))]
    table = ClassTable.from_dicts(
        [{"id": i, "name": name, "instrument": i > 0} for i, name in enumerate(names)]
    )
    manifest = Manifest(
        name="library",
        task="instances",
        method="foreign",
        classes=table,
        input=InputSpec(height=height, width=width, mean=spec.mean, std=spec.std),
        extra=instance_settings(spec),
    )
    return ExternalModel(spec, manifest)


def loose() -> Limits:
    """Limits under which random networks pass: their masks have pixels at the threshold."""
    return replace(
        Limits.of("fp32"), min_instance_iou=0.5, max_missed_instances=4, max_added_instances=4
    )


def frame_of(seed: int, size: tuple[int, int] = (270, 480)) -> NDArray[np.uint8]:
    """A frame of coloured spots."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def prepared(frame: NDArray[np.uint8], library: LibraryNetwork, spec: ModelSpec) -> torch.Tensor:
    """The network's image, by OpenCV."""
    image = placed_frame(frame, spec) / np.float32(255)
    image = (image - np.array(library.mean, np.float32)) / np.array(library.std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32))


def graph_frames(external: ExternalModel) -> Prepare:
    """The network's image as the bundle makes it: the preprocessing nodes alone."""
    model = onnx.helper.make_model(
        onnx.helper.make_graph([], "g", [], []),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=10,
    )
    session = open_cpu_session(preprocessing_graph(model, external).SerializeToString())
    name = session.get_inputs()[0].name
    return lambda frame: torch.from_numpy(session.run(None, {name: frame[None]})[0])


def painted(instances: list[Instance], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The library's masks as a map: a pixel belongs to the best instance."""
    numbers = np.zeros(size, np.uint8)
    for place in range(len(instances), 0, -1):
        numbers[instances[place - 1][2]] = place
    return numbers


def library_run(library: LibraryNetwork, spec: ModelSpec, frame: NDArray[np.uint8]) -> object:
    """Prepares, runs and post-processes as the library does, in PyTorch."""
    with torch.no_grad():
        return library.own(library.network(prepared(frame, library, spec)), FULL_HD)


def supervision_run(
    library: LibraryNetwork, spec: ModelSpec, frame: NDArray[np.uint8]
) -> Callable[[], object] | None:
    """The library's instances, drawn by supervision (masks, boxes, labels); ``None`` without it."""
    try:
        import supervision  # type: ignore[import-not-found]
    except ImportError:
        return None
    annotators = (
        supervision.MaskAnnotator(),
        supervision.BoxAnnotator(),
        supervision.LabelAnnotator(),
    )

    def run() -> object:
        with torch.no_grad():
            own = library.own(library.network(prepared(frame, library, spec)), FULL_HD)
        masks = np.zeros((len(own), *FULL_HD), np.bool_)
        for place, (_, _, mask) in enumerate(own):
            masks[place] = (
                mask
                if mask.shape == FULL_HD
                else cv2.resize(mask.view(np.uint8), FULL_HD[::-1]).view(np.bool_)
            )
        found = supervision.Detections(
            xyxy=supervision.mask_to_xyxy(masks),
            mask=masks,
            class_id=np.array([one[0] for one in own], np.int64),
            confidence=np.array([one[1] for one in own], np.float32),
        )
        image = frame.copy()
        for annotator in annotators:
            image = annotator.annotate(image, found)
        return image

    return run


def without_assembly(model: Path) -> onnxruntime.InferenceSession | None:
    """The graph up to the network's own outputs; ``None`` where they are inside a loop."""
    loaded = onnx.load(model)
    made = [o for node in loaded.graph.node for o in node.output if o.startswith("external_")]
    own = {n for node in loaded.graph.node if node.name.startswith("frame/") for n in node.input}
    ends = [name for name in made if name in own]
    if not ends:
        return None
    del loaded.graph.output[:]
    loaded.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in ends)
    return open_cpu_session(loaded.SerializeToString())


def post_of(library: LibraryNetwork, names: list[str]) -> Callable[[list[Any]], object]:
    """The library's post-processing of the ONNX network's outputs, at 1080p."""
    from helpers.instances.libraries import query_output

    def run(values: list[Any]) -> object:
        return library.own(query_output([torch.from_numpy(v) for v in values]), FULL_HD)

    return run


def cpp_session(library: Path, bundle: Path) -> Any:
    """A session of libtrocar by its ctypes example."""
    path = Path(__file__).parents[1] / "runtime/cpp/examples/trocar_ctypes.py"
    spec = importlib.util.spec_from_file_location("trocar_ctypes", path)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.Session(str(library), str(bundle), library=next(_onnxruntime()), threads=1)


def _onnxruntime() -> Iterator[str]:
    capi = Path(onnxruntime.__file__).parent / "capi"
    yield from map(str, sorted(capi.glob("libonnxruntime.so*")))


if __name__ == "__main__":
    main()
