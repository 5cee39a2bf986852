"""Packaging of Trocar: a plain install is the runtime; extras add what other packages need."""

from pathlib import Path

from setuptools import find_packages, setup

RUNTIME = [
    "numpy>=1.26",
    "click>=8.1",
    "rich>=13.7",
    "opencv-python-headless>=4.9",
    "av>=13",
    "prometheus-client>=0.20",
    "scipy>=1.11",
    "tomli-w>=1.0",
    "tomli>=2.0; python_version < '3.11'",
    # One wheel serves both the CPU and CUDA providers; it exists for Linux and Windows x86-64.
    "onnxruntime-gpu>=1.20; platform_machine == 'x86_64' or platform_machine == 'AMD64'",
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
]
EXPORT = ["onnx>=1.18", "onnxscript>=0.5", "torch>=2.8"]
RAY = ["ray>=2.40"]
SIGNING = ["cryptography>=45"]
DOCS = ["mkdocs>=1.6", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.29"]
EXTRAS = {
    "train": TRAIN,
    "export": EXPORT,
    "gpu": ["tensorrt>=10.0", "pycuda>=2025.1", "cuda-bindings>=12.6"],
    "rtx": ["tensorrt_rtx>=1.1"],
    "openvino": ["openvino>=2025.0"],
    "ray": RAY,
    "signing": SIGNING,
    "docs": DOCS,
    "dev": [
        *TRAIN,
        *EXPORT,
        *RAY,
        *SIGNING,
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
