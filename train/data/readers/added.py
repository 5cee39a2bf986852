"""Readers of plug-ins: layouts that installed packages add.

added, broken = recognised_by_plug_ins(Path("theatre"), own=LAYOUTS)
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError
from trocar.contract.plug_ins import PlugIn, blamed, load, plug_ins
from trocar.train.data.readers.scan import Reader, Recognition, Scan


class PlugInReader:
    """The reader of a plug-in; errors of its code name the plug-in.

    Args:
        plug_in: The plug-in, of kind ``readers``.

    Raises:
        ConfigError: It cannot be loaded.
    """

    def __init__(self, plug_in: PlugIn) -> None:
        self.plug_in = plug_in
        self._reader: Reader = load(plug_in)
        self.NAME: str = self._reader.NAME
        self.TASKS: tuple[str, ...] = tuple(self._reader.TASKS)

    def recognise(self, root: Path) -> Recognition:
        """See `trocar.train.data.readers.scan.Reader`."""
        with blamed(self.plug_in):
            return self._reader.recognise(root)

    def scan(self, root: Path, *, task: str, table: ClassTable | None) -> Scan:
        """See `trocar.train.data.readers.scan.Reader`."""
        with blamed(self.plug_in):
            return self._reader.scan(root, task=task, table=table)


def recognised_by_plug_ins(
    root: Path, *, own: Collection[str]
) -> tuple[list[tuple[Reader, Recognition]], list[str]]:
    """What the plug-ins say of a folder, and the errors of those that do not work.

    Args:
        root: The folder.
        own: Names of Trocar's own layouts.
    """
    found: list[tuple[Reader, Recognition]] = []
    broken = []
    for plug_in in plug_ins("readers", own=own).values():
        try:
            reader = PlugInReader(plug_in)
            found.append((reader, reader.recognise(root)))
        except ConfigError as error:
            broken.append(error.message)
    return found, broken
