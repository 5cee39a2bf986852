"""Parts that installed packages add to Trocar, found by entry points.

from trocar.contract.plug_ins import load, plug_ins
for name, plug_in in plug_ins("readers").items(): reader = load(plug_in)
"""

from trocar.contract.plug_ins.registry import (
    KINDS,
    Kind,
    PlugIn,
    blamed,
    check_object,
    guard_methods,
    load,
    plug_in_fault,
    plug_ins,
)

__all__ = [
    "KINDS",
    "Kind",
    "PlugIn",
    "blamed",
    "check_object",
    "guard_methods",
    "load",
    "plug_in_fault",
    "plug_ins",
]
