"""Which installed package launches kernels.

installed_package()     # "pycuda", "cuda.bindings", or None
"""

from __future__ import annotations

import importlib.util


def installed_package() -> str | None:
    """Name pycuda if it is installed, else ``cuda.bindings``; None without either."""
    for package in ("pycuda", "cuda.bindings"):
        try:
            if importlib.util.find_spec(package) is not None:
                return package
        except ModuleNotFoundError:
            continue
    return None
