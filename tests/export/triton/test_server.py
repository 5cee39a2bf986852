"""The repository served end to end: the real client, and a small server of the same protocol.

The server is no Triton: it loads a repository by its configuration, checks every tensor against it
as Triton does, runs the graphs with ONNX Runtime, and speaks KServe v2 over gRPC.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from classifier_bundle import make_classifier_bundle
from tiny_bundle import make_tiny_bundle

from trocar.contract.media.pictures import encode_picture
from trocar.export.triton.config import TritonOptions
from trocar.export.triton.repository import write_repository
from trocar.runtime.session import Session

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
client_library = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc  # noqa: E402

NUMPY = {"UINT8": np.uint8, "FP16": np.float16, "FP32": np.float32, "INT64": np.int64}


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Serves the models of a repository."""

    def __init__(self, repository: Path) -> None:
        import onnxruntime
        from google.protobuf import text_format

        self.configs = {}
        self.graphs = {}
        for file in repository.glob("*/config.pbtxt"):
            config = text_format.Parse(file.read_text(), model_config_pb2.ModelConfig())
            assert config.name == file.parent.name
            self.configs[config.name] = config
            if config.platform == "onnxruntime_onnx":
                model = str(file.parent / "1" / "model.onnx")
                self.graphs[config.name] = onnxruntime.InferenceSession(
                    model, providers=["CPUExecutionProvider"]
                )

    def ServerLive(self, request: Any, context: Any) -> Any:
        return service_pb2.ServerLiveResponse(live=True)

    def ModelReady(self, request: Any, context: Any) -> Any:
        return service_pb2.ModelReadyResponse(ready=request.name in self.configs)

    def ModelInfer(self, request: Any, context: Any) -> Any:
        try:
            values = {
                tensor.name: np.frombuffer(raw, NUMPY[tensor.datatype]).reshape(tensor.shape)
                for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
            }
            outputs = self.run(request.model_name, values)
        except (KeyError, ValueError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        names = {np.dtype(kind).name: name for name, kind in NUMPY.items()}
        for name, value in outputs.items():
            response.outputs.add(name=name, datatype=names[value.dtype.name], shape=value.shape)
            response.raw_output_contents.append(np.ascontiguousarray(value).tobytes())
        return response

    def run(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        """The outputs of a model, or of an ensemble of models."""
        config = self.configs[name]
        check(config.input, values, config.max_batch_size)
        if config.platform == "ensemble":
            pool = dict(values)
            for step in config.ensemble_scheduling.step:
                given = {inner: pool[outer] for inner, outer in step.input_map.items()}
                made = self.run(step.model_name, given)
                pool |= {outer: made[inner] for inner, outer in step.output_map.items()}
            outputs = {output.name: pool[output.name] for output in config.output}
        else:
            wanted = [output.name for output in config.output]
            outputs = dict(zip(wanted, self.graphs[name].run(wanted, values), strict=True))
        check(config.output, outputs, config.max_batch_size)
        return outputs


def check(ports: Any, values: dict[str, Any], max_batch: int) -> None:
    """Refuses tensors that the configuration does not state."""
    if set(values) != {port.name for port in ports}:
        raise ValueError(f"got {sorted(values)}, expected {[port.name for port in ports]}")
    for port in ports:
        value = values[port.name]
        kind = model_config_pb2.DataType.Name(port.data_type).removeprefix("TYPE_")
        shape = list(value.shape[1:]) if max_batch > 0 else list(value.shape)
        fits = len(shape) == len(port.dims) and all(
            stated in (-1, size) for stated, size in zip(port.dims, shape, strict=True)
        )
        if not fits or value.dtype != NUMPY[kind] or (max_batch and len(value) > max_batch):
            raise ValueError(f"{port.name} is {value.dtype} {value.shape}, expected {kind} {port}")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("served")
    finder, namer = folder / "finder.trocar", folder / "namer.trocar"
    make_tiny_bundle(finder, height=48, width=64)
    make_classifier_bundle(namer)
    return finder, namer


@pytest.fixture(scope="module")
def served(bundles: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The repository, the names of its models, and the address of a server for it."""
    repository = tmp_path_factory.mktemp("repository") / "models"
    finder, namer = bundles
    names = write_repository(finder, repository, TritonOptions(max_batch=4), classifier=namer)
    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Server(repository), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield repository, names, f"127.0.0.1:{port}"
    server.stop(None).wait()


def infer(address: str, name: str, frames: np.ndarray, tensor: str = "frame") -> Any:
    with client_library.InferenceServerClient(address) as client:
        assert client.is_server_live()
        assert client.is_model_ready(name)
        request = client_library.InferInput(tensor, frames.shape, "UINT8")
        request.set_data_from_numpy(frames)
        return client.infer(name, [request])


def test_the_client_gets_the_labels_of_the_session(served: Any, bundles: Any) -> None:
    _, names, address = served
    frames = np.random.default_rng(3).integers(0, 256, (3, 50, 70, 3), np.uint8)
    result = infer(address, names[0], frames)
    with Session.open(bundles[0], threads=1) as session:
        expected = session.infer(frames)
    for name, values in expected.items():
        assert np.array_equal(result.as_numpy(name), values)
        assert result.as_numpy(name).dtype == values.dtype


def test_the_ensemble_answers_with_the_outputs_of_both_models(served: Any, bundles: Any) -> None:
    _, names, address = served
    frames = np.random.default_rng(4).integers(0, 256, (1, 60, 80, 3), np.uint8)
    result = infer(address, names[-1], frames)
    with Session.open(bundles[0], threads=1) as session:
        assert np.array_equal(result.as_numpy("labels"), session.infer(frames)["labels"])
    scores = result.as_numpy("scores")
    assert scores.shape[0] == 1
    assert np.isfinite(scores).all()


def test_what_the_configuration_does_not_take_is_refused(served: Any) -> None:
    _, names, address = served
    for frames, tensor in (
        (np.zeros((5, 8, 8, 3), np.uint8), "frame"),  # larger than the largest batch
        (np.zeros((1, 8, 8), np.uint8), "frame"),
        (np.zeros((1, 8, 8, 3), np.uint8), "image"),
    ):
        with pytest.raises(client_library.InferenceServerException, match=r"expected"):
            infer(address, names[0], frames, tensor)


def test_the_example_that_the_repository_holds_runs(served: Any, tmp_path: Path) -> None:
    repository, _, address = served
    frame = np.random.default_rng(5).integers(0, 256, (50, 70, 3), np.uint8)
    (tmp_path / "frame.png").write_bytes(encode_picture(frame, ".png"))
    done = subprocess.run(
        [sys.executable, repository / "client_example.py", tmp_path / "frame.png", address],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "labels uint8 (1, 48, 64)" in done.stdout
