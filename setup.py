"""Packaging of Trocar: a plain install is the runtime; extras add what other packages need.

A wheel holds libtrocar where its build finds a compiler, CMake and the header of ONNX Runtime:

    python -m build --wheel                     what is there is used
    TROCAR_CPP=1 python -m build --wheel        libtrocar must be built; the header may be fetched
    TROCAR_NO_CPP=1 python -m build --wheel     Python alone, for every machine
    TROCAR_CPP=1 TROCAR_TARGET=aarch64 …        for 64-bit Arm, with its cross compiler

An editable install builds it with TROCAR_CPP=1 only.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Command, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.dist import Distribution

HERE = Path(__file__).resolve().parent
CPP = HERE / "runtime" / "cpp"
NATIVE = "trocar/native"

X86 = "platform_machine == 'x86_64' or platform_machine == 'AMD64'"
RUNTIME = [
    "numpy>=1.26",
    "click>=8.1",
    "rich>=13.7",
    "opencv-python-headless>=4.10.0.84",
    "av>=14.1",  # the first whose decoders are opened by `hwaccel`
    "prometheus-client>=0.20",
    "scipy>=1.11",
    "tomli-w>=1.0",
    "tomli>=2.0; python_version < '3.11'",
]
# ONNX Runtime is chosen by an extra, because its wheels overwrite each other's files.
CPU = ["onnxruntime>=1.20"]
CUDA = [
    # One wheel serves both the CPU and CUDA providers; it exists for Linux and Windows x86-64.
    # 1.28 is the first whose CUDA provider runs all of an exported graph; it needs Python 3.11.
    f"onnxruntime-gpu>=1.28; python_version >= '3.11' and ({X86})",
    f"onnxruntime-gpu>=1.20; python_version < '3.11' and ({X86})",
    "onnxruntime>=1.20; platform_machine != 'x86_64' and platform_machine != 'AMD64'",
]
TRAIN = [
    "torch>=2.8",
    "torchvision>=0.23",
    "timm>=1.0.15",
    "segmentation-models-pytorch>=0.5",
    "lightning-fabric>=2.5",
    "safetensors>=0.4",
    "tensorboard>=2.16",
    "matplotlib>=3.8",
    "pillow>=10",
    "pycocotools>=2.0.8",
    "pyyaml>=6.0",
    "packaging>=23",
]
EXPORT = ["onnx>=1.18", "onnxscript>=0.5", "torch>=2.8"]
RAY = ["ray>=2.40"]
# The checksum of OpenIGTLink's messages.
IGTL = ["fastcrc>=0.4"]  # the first that reads memory it does not own
# The live page as video; the number of a picture is matched with its results.
WEBRTC = ["aiortc>=1.14"]
SIGNING = ["cryptography>=45"]
TUNE = ["optuna>=4.2"]
DOCS = ["mkdocs>=1.6", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.29"]
EXTRAS = {
    "train": TRAIN,
    "export": EXPORT,
    "cpu": CPU,
    # Wheels alone, no compiler: what ONNX Runtime and the GLCM kernels need on a GPU.
    "gpu": ["onnxruntime-gpu[cuda,cudnn]>=1.28", "cuda-bindings>=12.8"],
    # ONNX Runtime's TensorRT provider loads TensorRT 10 alone; the backend runs 11 as well.
    "tensorrt": ["tensorrt>=10.0.1,<11", "cuda-bindings>=12.8"],
    "pycuda": ["pycuda>=2025.1"],
    "rtx": ["tensorrt_rtx>=1.4", "cuda-bindings>=12.8"],
    # The first that loads a Resize with axes, as exported graphs have it.
    "openvino": ["openvino>=2025.4"],
    # From NVIDIA's index for Jetson; TensorRT comes with JetPack.
    "jetson": ["onnxruntime-gpu>=1.20"],
    "ray": RAY,
    "signing": SIGNING,
    "igtl": IGTL,
    "webrtc": WEBRTC,
    "mlflow": ["mlflow>=2.16"],
    "wandb": ["wandb>=0.18"],
    "tune": TUNE,
    "docs": DOCS,
    "dev": [
        *CUDA,
        *TRAIN,
        *EXPORT,
        *RAY,
        *SIGNING,
        *IGTL,
        *WEBRTC,
        *TUNE,
        *DOCS,
        "build>=1.2",
        "cmake>=3.25",
        "clang-format>=18",
        "hypothesis>=6.100",
        "mypy>=1.13",
        "pytest>=8.3",
        "pytest-randomly>=3.15",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "ruff>=0.8",
        "scikit-image>=0.24",
        "setuptools>=77",
        "torchmetrics>=1.6",
        "pytorch-metric-learning>=2.6",
        # For Triton's own protobuf definitions alone; 2.70 and later want an older ml-dtypes.
        "tritonclient>=2.40",
    ],
}


class MissingTool(Exception):
    """Something that building libtrocar needs is not here."""


def is_set(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def toolchain() -> Path | None:
    """CMake's description of the machine in TROCAR_TARGET; ``None`` builds for this one."""
    target = os.environ.get("TROCAR_TARGET", "")
    if target in ("", platform.machine()):
        return None
    file = CPP / "cmake" / f"{target}-linux-gnu.cmake"
    if not file.is_file():
        files = file.parent.glob("*-linux-gnu.cmake")
        known = ", ".join(sorted(path.name.partition("-")[0] for path in files))
        sys.exit(
            f"error: TROCAR_TARGET is {target!r}, expected {platform.machine()} or {known}"
            "\n  → name one of these, or build on such a machine without TROCAR_TARGET"
        )
    return file


def cmake() -> list[str]:
    """The command of CMake: the program, or the Python package of that name."""
    found = shutil.which("cmake")
    if found:
        return [found]
    if importlib.util.find_spec("cmake") is not None:
        return [sys.executable, "-m", "cmake"]
    raise MissingTool("there is no cmake")


def onnxruntime_header(*, fetch: bool) -> str:
    """Folder of ONNX Runtime's C header, which the library is compiled with but not linked to."""
    places = [os.environ.get("TROCAR_ONNXRUNTIME_INCLUDE", ""), str(CPP / "build-headers/include")]
    for base in ("/usr/include", "/usr/local/include"):
        places += [base, f"{base}/onnxruntime", f"{base}/onnxruntime/core/session"]
    for place in filter(None, places):
        if (Path(place) / "onnxruntime_c_api.h").is_file():
            return place
    script = HERE / "scripts" / "fetch_onnxruntime_headers.sh"
    if fetch and script.is_file():
        done = subprocess.run([script, CPP / "build-headers"], stdout=subprocess.PIPE, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
    raise MissingTool(
        "there is no onnxruntime_c_api.h (name its folder in TROCAR_ONNXRUNTIME_INCLUDE)"
    )


def native_tools() -> tuple[list[str], str] | None:
    """What builds libtrocar; ``None`` where it is not wanted or cannot be built."""
    if is_set("TROCAR_NO_CPP"):
        return None
    required = is_set("TROCAR_CPP")
    try:
        if not sys.platform.startswith("linux"):
            raise MissingTool("libtrocar is for Linux")
        if not CPP.is_dir():
            raise MissingTool(f"there is no {CPP}")
        if shutil.which(os.environ.get("CXX", "c++").split()[0]) is None:
            raise MissingTool("there is no C++ compiler")
        return cmake(), onnxruntime_header(fetch=required)
    except MissingTool as missing:
        if required:
            sys.exit(
                f"error: TROCAR_CPP is set, and libtrocar cannot be built: {missing}\n"
                "  → install what is missing (Debian: apt-get install g++ make; "
                "pip install cmake), or build with TROCAR_NO_CPP=1 for Python alone"
            )
        print(f"trocar: a wheel without libtrocar: {missing}", file=sys.stderr)
        return None


class NativeDistribution(Distribution):
    """A distribution whose wheel is for one kind of machine where it holds libtrocar."""

    def has_ext_modules(self) -> bool:
        return native_tools() is not None


class Wheel(bdist_wheel):
    """Holds no extension module of CPython: any Python 3 takes it."""

    def get_tag(self) -> tuple[str, str, str]:
        _, _, machine = super().get_tag()
        if machine != "any" and toolchain() is not None:
            machine = f"linux_{os.environ['TROCAR_TARGET']}"
        return "py3", "none", machine


class BuildNative(Command):
    """Builds libtrocar into the package ``trocar.native``'s folder."""

    editable_mode = False

    def initialize_options(self) -> None:
        self.build_lib = None
        self.build_temp = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib",) * 2, ("build_temp",) * 2)

    def run(self) -> None:
        tools = None if self.editable_mode and not is_set("TROCAR_CPP") else native_tools()
        if tools is None:
            return
        command, header = tools
        folder = Path(self.build_temp) / "native"
        prefix = HERE / NATIVE if self.editable_mode else (Path(self.build_lib) / NATIVE).resolve()
        shutil.rmtree(prefix, ignore_errors=True)
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_INSTALL_LIBDIR": "lib",
            "TROCAR_WHEEL": "ON",
            "TROCAR_TESTS": "OFF",
            "TROCAR_EXAMPLES": "OFF",
            "TROCAR_ONNXRUNTIME_INCLUDE": header,
        }
        cross = toolchain()
        if cross is not None:
            options["CMAKE_TOOLCHAIN_FILE"] = str(cross)
        definitions = [f"-D{name}={value}" for name, value in options.items()]
        subprocess.check_call([*command, "-S", CPP, "-B", folder, *generator, *definitions])
        subprocess.check_call([*command, "--build", folder, "--parallel"])
        subprocess.check_call([*command, "--install", folder, "--prefix", prefix])
        # A wheel keeps no links.
        for link in [path for path in prefix.rglob("*") if path.is_symlink()]:
            target = link.resolve()
            link.unlink()
            shutil.copyfile(target, link)

    def get_source_files(self) -> list[str]:
        return []

    def get_outputs(self) -> list[str]:
        return [str(path) for path in (Path(self.build_lib) / NATIVE).rglob("*") if path.is_file()]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class Build(build):
    """The build with libtrocar."""

    sub_commands = [*build.sub_commands, ("build_native", None)]  # noqa: RUF012


setup(
    name="trocar",
    version="0.1.0",
    description="Instrument segmentation for surgical video: train, verified export, live runtime.",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["trocar", "trocar.*"]),
    distclass=NativeDistribution,
    cmdclass={"build": Build, "build_native": BuildNative, "bdist_wheel": Wheel},
    package_data={
        "trocar": ["py.typed"],
        "trocar.demo": ["phantom.ckpt", "phantom.json"],
        "trocar.train.recipes": ["*.toml"],
        "trocar.cuda_kernels": ["kernels/*", "kernels/host/*"],
        "trocar.runtime.live": ["monitor/static/*"],
    },
    include_package_data=False,
    install_requires=RUNTIME,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["trocar=trocar.cli:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Healthcare Industry",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
    ],
)
