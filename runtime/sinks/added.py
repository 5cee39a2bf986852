"""Sinks of plug-ins: outputs that installed packages add, as ``NAME:TARGET``.

sink = open_added_sink("pacs:archive.hospital:104", overwrite=False)
"""

from __future__ import annotations

from trocar.contract.config import unknown
from trocar.contract.errors import ConfigError
from trocar.contract.plug_ins import PlugIn, blamed, check_object, load, plug_ins
from trocar.runtime.sinks.base import FrameEvent, Sink, StreamInfo

_NEEDS = ("name", "wants_every_frame", "open", "write", "close", "commit", "discard")


class PlugInSink:
    """A plug-in's sink; errors of its code name the plug-in.

    Args:
        plug_in: The plug-in.
        sink: What its function made.
    """

    def __init__(self, plug_in: PlugIn, sink: Sink) -> None:
        self._plug_in, self._sink = plug_in, sink
        self.name = sink.name
        self.wants_every_frame = sink.wants_every_frame

    def open(self, info: StreamInfo) -> None:
        """See `trocar.runtime.sinks.base.Sink`."""
        with blamed(self._plug_in):
            self._sink.open(info)

    def write(self, event: FrameEvent) -> None:
        """See `trocar.runtime.sinks.base.Sink`."""
        with blamed(self._plug_in):
            self._sink.write(event)

    def close(self) -> None:
        """See `trocar.runtime.sinks.base.Sink`."""
        with blamed(self._plug_in):
            self._sink.close()

    def commit(self) -> None:
        """See `trocar.runtime.sinks.base.Sink`."""
        with blamed(self._plug_in):
            self._sink.commit()

    def discard(self) -> None:
        """See `trocar.runtime.sinks.base.Sink`."""
        self._sink.discard()


def open_added_sink(text: str, *, overwrite: bool) -> Sink:
    """Makes the sink of a plug-in: its function is called with the target and ``overwrite``.

    Args:
        text: ``NAME:TARGET``; the target may be empty.
        overwrite: Whether an output that exists is replaced.

    Raises:
        ConfigError: There is no such sink, or its plug-in does not work.
    """
    name, _, target = text.partition(":")
    found = plug_ins("sinks")
    if name not in found:
        known = ", ".join(found)
        raise ConfigError(
            f"the sink {unknown(name, found)}",
            remedy=f"choose one of {known}"
            if known
            else "install a package that adds sinks; "
            "files are written with --json, --csv and --overlay",
        )
    make = load(found[name])
    with blamed(found[name]):
        sink = make(target, overwrite=overwrite)
        check_object(found[name], sink, _NEEDS)
    return PlugInSink(found[name], sink)
