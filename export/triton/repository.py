"""Writes an NVIDIA Triton model repository: graph or engine, batching, warm-up, labels.

    write_repository(Path("m.trocar"), Path("models"), TritonOptions(max_batch=8))

The configuration is protobuf text; tests parse it with Triton's own definitions.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from trocar.contract.bundle import GOLDEN, MODEL, Bundle, open_bundle, replaced_folder
from trocar.contract.errors import BundleError, OutputExistsError
from trocar.contract.manifest import Manifest
from trocar.contract.tensorrt.engines import EngineSidecar, engines_of
from trocar.export.parity.types import Frame
from trocar.export.triton.config import EnumValue, Message, TritonOptions, output_config, pbtxt
from trocar.export.triton.ensemble import write_ensemble

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def write_repository(
    source: Path,
    out: Path,
    options: TritonOptions,
    *,
    classifier: Path | None = None,
) -> list[str]:
    """Writes the repository completely, or not at all.

    Args:
        source: The bundle.
        out: Folder to make; it must not exist.
        options: How the server runs it.
        classifier: A classifier's bundle, for an ensemble: the instruments that the first model
            finds are cut out of the frame and classified.

    Returns:
        Names of the models in it.

    Raises:
        OutputExistsError: ``out`` exists.
        BundleError: No such engine, or tasks of the bundles that do not fit.
    """
    if out.exists():
        raise OutputExistsError(f"{out} exists already", remedy="choose another folder")
    bundle = open_bundle(source)
    second = open_bundle(classifier) if classifier is not None else None
    with replaced_folder(out) as folder:
        names = [_write_model(folder, bundle, options)]
        if second is not None:
            names.append(_write_model(folder, second, options))
            names += write_ensemble(
                folder, (bundle.manifest, second.manifest), (names[0], names[1]), options
            )
        (folder / "client_example.py").write_text(_client(names[-1], bundle.manifest), "utf-8")
    return names


def model_name(manifest: Manifest) -> str:
    """A name that the server takes: letters, digits, ``_``, ``-`` and ``.``."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", manifest.name).strip("-.") or manifest.task
    return name if _NAME.fullmatch(name) else f"model-{name}"


def _write_model(folder: Path, bundle: Bundle, options: TritonOptions) -> str:
    manifest = bundle.manifest
    name = model_name(manifest)
    if (folder / name).exists():
        name = f"{name}-{manifest.task}"
    engine = _engine(bundle, options)
    path = folder / name
    (path / "1").mkdir(parents=True)
    (path / "warmup").mkdir()
    frame = _golden_frame(bundle, options.engine if engine is not None else None)
    if engine is None:
        (path / "1" / "model.onnx").write_bytes(bundle.read(MODEL))
        dims: list[int] = [-1, -1, 3]
        batch = options.max_batch
    else:
        assert options.engine is not None
        (path / "1" / "model.plan").write_bytes(bundle.read(options.engine))
        profile = engine.profile
        fixed = profile.minimum[1:] == profile.maximum[1:]
        dims = [*profile.maximum[1:], 3] if fixed else [-1, -1, 3]
        batch = profile.maximum[0]
    (path / "labels.txt").write_text("\n".join(manifest.classes.names) + "\n", "utf-8")
    (path / "warmup" / "frame").write_bytes(np.ascontiguousarray(frame).tobytes())
    inputs = [{"name": manifest.input.name, "data_type": EnumValue("TYPE_UINT8"), "dims": dims}]
    config: Message = {
        "name": name,
        **({"platform": "onnxruntime_onnx"} if engine is None else {"platform": "tensorrt_plan"}),
        "max_batch_size": batch,
        "input": inputs,
        "output": [output_config(output) for output in manifest.outputs],
        "instance_group": [
            {"count": options.instances, "kind": EnumValue(f"KIND_{options.device.upper()}")}
        ],
        "model_warmup": [
            {
                "name": "golden frame",
                "batch_size": engine.profile.minimum[0] if engine is not None else 1,
                "inputs": {
                    "key": manifest.input.name,
                    "value": {
                        "data_type": EnumValue("TYPE_UINT8"),
                        "dims": list(frame.shape),
                        "input_data_file": "frame",
                    },
                },
            }
        ],
    }
    if batch > 1:
        config["dynamic_batching"] = {"max_queue_delay_microseconds": options.delay_us}
    if options.threads is not None and engine is None:
        config["parameters"] = [
            {"key": "intra_op_thread_count", "value": {"string_value": str(options.threads)}}
        ]
    (path / "config.pbtxt").write_text(pbtxt(config), encoding="utf-8")
    return name


def _engine(bundle: Bundle, options: TritonOptions) -> EngineSidecar | None:
    if options.engine is None or bundle.manifest.task == "classification":
        return None
    known = engines_of(bundle)
    if options.engine not in known:
        raise BundleError(
            f"{bundle.path} has no engine {options.engine}; it has "
            + (", ".join(sorted(known)) or "none"),
            remedy="build one with `trocar export BUNDLE --engine tensorrt --engine-shape "
            "WIDTHxHEIGHT`",
        )
    sidecar = known[options.engine]
    if sidecar.flavour != "tensorrt":
        raise BundleError(
            f"{options.engine} is a {sidecar.flavour} engine, which Triton does not load",
            remedy="build one with --engine tensorrt, or serve the ONNX graph",
        )
    return sidecar


def _golden_frame(bundle: Bundle, engine: str | None) -> Frame:
    name = GOLDEN if engine is None else f"{engine.removesuffix('.engine')}.golden.npz"
    with np.load(io.BytesIO(bundle.read(name)), allow_pickle=False) as golden:
        frame: Frame = golden["frame"]
    return frame


def _client(name: str, manifest: Manifest) -> str:
    return f'''"""Sends one frame to the server.

    pip install trocar "tritonclient[grpc]"
    tritonserver --model-repository THIS_FOLDER
    python client_example.py frame.png [HOST:PORT]
"""

import sys
from pathlib import Path

import tritonclient.grpc as triton

from trocar.contract.media.pictures import read_image

frame = read_image(Path(sys.argv[1]))[None]  # [1, H, W, 3] uint8 RGB
client = triton.InferenceServerClient(sys.argv[2] if len(sys.argv) > 2 else "localhost:8001")
request = triton.InferInput({manifest.input.name!r}, frame.shape, "UINT8")
request.set_data_from_numpy(frame)
result = client.infer({name!r}, [request])
for output in result.get_response().outputs:
    value = result.as_numpy(output.name)
    print(output.name, value.dtype, value.shape)
'''
