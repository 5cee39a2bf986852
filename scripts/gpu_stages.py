"""The stages of ``scripts/gpu_check.sh``, one process each.

    python scripts/gpu_stages.py kernels

Exit codes: 0 passed, 77 absent, others failed. The last line of the output is the stage's summary.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUT = Path(os.environ.get("GPU_CHECK_OUT", ROOT / "build" / "gpu_check"))
ABSENT = 77
DEVICE = "cuda"
RATES = (25, 30, 50, 60)
"""Frames a second that live streams are fed at."""


class Absent(Exception):
    """What the stage needs is not on this machine."""


def main(name: str) -> int:
    """Runs one stage; prints its summary; returns the exit code."""
    from trocar.contract.tensorrt.gpu import find_gpu

    stage = STAGES[name]
    gpu = find_gpu()
    if gpu is None:
        print("no NVIDIA GPU here")
        return ABSENT
    try:
        print(stage())
    except (Absent, ModuleNotFoundError) as error:
        print(f"on {gpu.name}: {error}")
        return ABSENT
    return 0


def environment() -> str:
    """Driver, packages, and a CUDA session of ONNX Runtime."""
    from trocar.doctor.checks import examine

    findings = examine()
    for finding in findings:
        print(finding.state, finding.check, finding.detail, finding.remedy)
    failed = [f.check for f in findings if f.state == "fail" and f.check != "cameras"]
    require(not failed, f"doctor: {', '.join(failed)}")
    query = "name,driver_version,clocks.max.sm,clocks.max.mem,ecc.mode.current"
    return command("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader").strip()


def kernels() -> str:
    """Every kernel against the CPU: gradients with torch's own, location with `locate`."""
    needs("torch")
    folder = ROOT / "tests" / "cuda_kernels"
    tests = folder / "backends" / "test_cuda.py", folder / "location" / "test_location_cuda.py"
    runner = (sys.executable, "-m", "pytest", "-q", "-p", "no:randomly")
    return command(*runner, *map(str, tests), last=True)


def sanitizer() -> str:
    """The kernels under compute-sanitizer."""
    program = tool("compute-sanitizer")
    code = (
        "import torch; from trocar.cuda_kernels import glcm, soft_glcm_entropy\n"
        "glcm(torch.randint(0, 8, (1, 61, 133)).to(torch.uint8).cuda(), levels=8)\n"
        "x = torch.randn(1, 8, 61, 133, device='cuda', requires_grad=True)\n"
        "soft_glcm_entropy(x, from_logits=True).sum().backward(); torch.cuda.synchronize()\n"
    )
    checks = ("memcheck", "racecheck", "synccheck", "initcheck")
    for check in checks:
        command(program, "--tool", check, "--error-exitcode", "9", sys.executable, "-c", code)
    return f"{', '.join(checks)}: no error"


def repeat() -> str:
    """The golden frame twice in two sessions: bit-equal, and equal to what was exported."""
    import numpy as np

    from trocar.runtime import Session

    outputs = []
    for _ in range(2):
        with Session.open(bundle(), device=DEVICE) as session:
            outputs.append(session.infer(frames(1)))
    for name, value in outputs[0].items():
        require(np.array_equal(value, outputs[1][name]), f"{name} differs between two runs")
    return "two sessions are bit-equal; the golden frame is the exporter's"


def capture() -> str:
    """The kernels inside a CUDA graph, beside work on the default stream."""
    import torch

    from trocar.cuda_kernels import soft_glcm

    x = torch.randn(1, 8, 256, 320, device="cuda")
    expected = soft_glcm(x, from_logits=True)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        found = soft_glcm(x, from_logits=True)
    busy = torch.randn(2048, 2048, device="cuda")
    for _ in range(20):
        busy = busy @ busy * 1e-3
        graph.replay()
    torch.cuda.synchronize()
    require(torch.equal(found, expected), "a replayed graph gives other sums")
    return "20 replays beside other work give the same sums"


def speed() -> str:
    """Kernel times against a copy of the same buffers."""
    import torch

    from trocar.cuda_kernels import soft_glcm_entropy

    x = torch.randn(8, 8, 512, 512, device="cuda", requires_grad=True)
    target = torch.empty_like(x)

    def both() -> None:
        soft_glcm_entropy(x, from_logits=True).sum().backward()

    def copies() -> None:
        # Forward reads the scores; backward reads them and writes the gradient.
        target.copy_(x.detach())
        target.copy_(x.detach())

    work, floor = timed(both), timed(copies)
    return f"forward and backward {work:.3f} ms, {work / floor:.2f} times the copies ({clock()})"


def counters() -> str:
    """Nsight Compute on one forward and backward pass."""
    program = tool("ncu")
    code = (
        "import torch; from trocar.cuda_kernels import soft_glcm_entropy\n"
        "x = torch.randn(8, 8, 512, 512, device='cuda', requires_grad=True)\n"
        "soft_glcm_entropy(x, from_logits=True).sum().backward(); torch.cuda.synchronize()\n"
    )
    share = "throughput.avg.pct_of_peak_sustained_elapsed"
    names = f"dram__{share},sm__{share}"
    text = command(
        program, "--metrics", names, "--kernel-name", "regex:soft_", "--csv",
        sys.executable, "-c", code,
    )  # fmt: skip
    print(text)
    return f"{text.count('soft_')} rows of counters in the log"


def onnxruntime() -> str:
    """Placement, golden frame, CUDA graphs; times with and without them."""
    import onnxruntime as ort

    from trocar.runtime import Session
    from trocar.runtime.backends.onnxruntime_cuda import preload_libraries, provider_options
    from trocar.runtime.devices import Device

    missing = preload_libraries()
    require(not missing, f"libraries are missing: {', '.join(missing)}")
    settings = ort.SessionOptions()
    settings.enable_profiling = True
    settings.profile_file_prefix = str(OUT / "placement")
    cuda = ("CUDAExecutionProvider", provider_options(Device("cuda"), graphs=False, tf32=False))
    session = ort.InferenceSession(
        str(bundle() / "model.onnx"), settings, providers=[cuda, "CPUExecutionProvider"]
    )
    session.run(None, {session.get_inputs()[0].name: frames(1)})
    events = json.loads(Path(session.end_profiling()).read_text())
    on_cpu = {
        e["args"]["op_name"]
        for e in events
        if e.get("args", {}).get("provider") == "CPUExecutionProvider"
    }
    shapes = {"Shape", "Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Cast", "Constant"}
    require(on_cpu <= shapes, f"on the CPU: {', '.join(sorted(on_cpu - shapes))}")
    times = {}
    for graphs in (False, True):
        with Session.open(bundle(), device=DEVICE, graphs=graphs) as opened:
            opened.warm_up(1, 1080, 1920)
            times[graphs] = percentiles(lambda s=opened: s.infer(frames(1)))
            require(not opened.notes, "; ".join(opened.notes))
    return f"1080p p50/p99 {times[False]} ms, with CUDA graphs {times[True]} ms ({clock()})"


def tensorrt() -> str:
    """For each flavour that is installed: build, golden frame, graph, another batch."""
    from trocar.contract.tensorrt.engines import LIBRARIES

    results = []
    for flavour, library in LIBRARIES.items():
        try:
            __import__(library.module)
        except (ImportError, OSError):
            continue
        results.append(engine_times(flavour))
    if not results:
        raise Absent("neither TensorRT nor TensorRT for RTX is installed")
    return "; ".join(results)


def engine_times(flavour: str) -> str:
    """Builds an engine into a copy of the bundle and runs it."""
    from trocar.runtime import Session

    copy = OUT / f"{flavour}.trocar"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(bundle(), copy)
    main_of = "from trocar.cli import main; main()"
    options = ("--engine", flavour, "--engine-shape", "1920x1080", "--batch", "1:1:2")
    command(sys.executable, "-c", main_of, "export", str(copy), *options)
    with Session.open(copy, backend=flavour, device="cuda", frame_sizes=[(1080, 1920)]) as opened:
        for batch in (1, 2):
            opened.warm_up(batch, 1080, 1920)
        times = percentiles(lambda: opened.infer(frames(1)))
        opened.infer(frames(2))
        require(not opened.notes, "; ".join(opened.notes))
    return f"{flavour}: 1080p p50/p99 {times} ms ({clock()})"


def live() -> str:
    """Two live streams of 1080p at several rates with forced shedding: p99 of the age."""
    import numpy as np
    from live_runs import live as run_live
    from videos import Camera

    from trocar.runtime import Session
    from trocar.runtime.pipeline.options import LiveOptions

    results = []
    with Session.open(bundle(), device=DEVICE) as session:
        for fps in RATES:
            cameras = [Camera(frames=4 * fps, fps=fps, size=(1080, 1920)) for _ in range(2)]
            options = LiveOptions(deadline_ms=0.001, shed_load=True)
            streams, summaries = run_live(session, *cameras, options=options)
            failed = sum(s.counts.failed for s in summaries)
            require(failed == 0, f"{failed} frames failed at {fps} frames/s")
            age = streams[0].stages["age"].percentile(99)
            results.append(f"{fps}/s {np.round(age, 1)}")
    return f"p99 of the age in ms: {', '.join(results)} ({clock()})"


def training() -> str:
    """Steps of fp32, TF32 and bf16, plain and channels-last; host synchronisations counted."""
    import warnings

    needs("segmentation_models_pytorch")
    import segmentation_models_pytorch as smp
    import torch

    rows = []
    for precision in ("fp32", "tf32", "bf16"):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = (
            precision == "tf32"
        )
        for layout in (torch.contiguous_format, torch.channels_last):
            network = smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=8)
            network = network.cuda().to(memory_format=layout)
            x = torch.randn(8, 3, 512, 640, device="cuda").to(memory_format=layout)
            y = torch.randint(0, 8, (8, 512, 640), device="cuda")

            def step(network: Any = network, x: Any = x, y: Any = y, kind: str = precision) -> None:
                with torch.autocast("cuda", torch.bfloat16, enabled=kind == "bf16"):
                    loss = torch.nn.functional.cross_entropy(network(x), y)
                loss.backward()

            torch.cuda.set_sync_debug_mode("warn")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                step()
            torch.cuda.set_sync_debug_mode("default")
            name = "last" if layout is torch.channels_last else "plain"
            rows.append(f"{precision} {name} {timed(step, runs=5):.1f} ms, {len(caught)} syncs")
    return "; ".join(rows)


def processes() -> str:
    """Two processes share the GPU: both give the exporter's golden frame."""
    code = (
        "import sys; from trocar.runtime import Session\n"
        "with Session.open(sys.argv[1], device='cuda') as s: s.warm_up(1, 1080, 1920)\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(bundle())]) for _ in range(2)]
    codes = [process.wait() for process in both]
    require(codes == [0, 0], f"exit codes {codes}")
    return "two processes at once pass the golden frame"


STAGES: dict[str, Callable[[], str]] = {
    stage.__name__: stage
    for stage in (
        environment, kernels, sanitizer, repeat, capture, speed, counters, onnxruntime, tensorrt,
        live, training, processes,
    )
}  # fmt: skip


def bundle() -> Path:
    """The bundle of ``gpu_pack.sh``, or a tiny one."""
    packed = Path(os.environ.get("GPU_PACK", OUT)) / "bundle.trocar"
    if not packed.is_dir():
        from tiny_bundle import make_tiny_bundle

        make_tiny_bundle(packed, height=512, width=640)
    return packed


def frames(count: int) -> Any:
    """``[N, 1080, 1920, 3]`` frames with bars in view."""
    import numpy as np
    from tiny_bundle import tiny_frame

    return np.stack([tiny_frame(1080, 1920, shift=shift) for shift in range(count)])


def percentiles(work: Callable[[], object], *, runs: int = 200) -> str:
    """Median and 99th percentile of a call in milliseconds."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1e3)
    return f"{statistics.median(times):.2f}/{statistics.quantiles(times, n=100)[98]:.2f}"


def timed(work: Callable[[], object], *, runs: int = 30) -> float:
    """Median milliseconds of work on the GPU, by events."""
    import torch

    times = []
    for index in range(runs + 5):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        if index >= 5:
            times.append(start.elapsed_time(end))
    return statistics.median(times)


def clock() -> str:
    """The clock of the multiprocessors now."""
    query = ("nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader")
    return command(*query).strip().splitlines()[0]


def command(*words: str, last: bool = False) -> str:
    """Output of a program; whatever it prints is in the log."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr)
    require(done.returncode == 0, f"{Path(words[0]).name} ended with {done.returncode}")
    return done.stdout.strip().splitlines()[-1] if last else done.stdout


def tool(name: str) -> str:
    """Path of a program of the CUDA toolkit."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/cuda/bin"])
    found = shutil.which(name, path=places)
    if found is None:
        raise Absent(f"{name} is not installed")
    return found


def needs(package: str) -> None:
    """Ends the stage as absent where a package is not installed."""
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise Absent(f"{package} is not installed")


def require(true: bool, otherwise: str) -> None:
    """Fails the stage with one line."""
    if not true:
        print(otherwise)
        raise SystemExit(1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
