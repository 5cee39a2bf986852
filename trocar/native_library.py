"""Where the libtrocar of this installation is, for programs in C and C++.

find_native().cmake_dir     # …/site-packages/trocar/native/lib/cmake/trocar
"""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass
from pathlib import Path

from trocar.contract.errors import BackendError, MissingExtraError

_FOLDER = Path(__file__).parent / "native"
_MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
"""Machine by its number in the header of an ELF file."""


@dataclass(frozen=True, kw_only=True)
class Native:
    """Paths of an installed libtrocar.

    Attributes:
        cmake_dir: Folder of ``trocarConfig.cmake``, for ``trocar_DIR``.
        include: Folder of headers.
        library: The shared library.
        pkg_config: Folder of the file for pkg-config, for ``PKG_CONFIG_PATH``.
    """

    cmake_dir: Path
    include: Path
    library: Path
    pkg_config: Path


def find_native(folder: Path = _FOLDER) -> Native:
    """The libtrocar in this installation.

    Args:
        folder: Prefix of its installation.

    Raises:
        MissingExtraError: There is none.
        BackendError: It is for another machine.
    """
    native = Native(
        cmake_dir=folder / "lib" / "cmake" / "trocar",
        include=folder / "include",
        library=next(iter(sorted(folder.glob("lib/libtrocar.so.*"))), folder / "lib"),
        pkg_config=folder / "lib" / "pkgconfig",
    )
    if not native.library.is_file():
        raise MissingExtraError(
            f"this installation of Trocar has no libtrocar: {folder} is missing",
            remedy="install the wheel that was built for this machine, or build libtrocar: "
            "TROCAR_CPP=1 pip install .",
        )
    machine = _machine_of(native.library)
    if machine != platform.machine():
        raise BackendError(
            f"{native.library} is for another machine: it is for {machine}, this is a "
            f"{platform.machine()}",
            remedy=f"install the wheel for {platform.machine()}",
        )
    return native


def _machine_of(library: Path) -> str:
    with library.open("rb") as file:
        header = file.read(20)
    if header[:4] != b"\x7fELF" or len(header) < 20:
        return "no Linux machine"
    order = "<" if header[5] == 1 else ">"
    (number,) = struct.unpack(f"{order}H", header[18:20])
    return _MACHINES.get(number, f"machine {number}")
