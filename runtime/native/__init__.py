"""libtrocar from Python: its live loop, whose thread needs no interpreter.

with NativeLive(Path("model.trocar"), library=find_native().library, size=(1080, 1920)) as live:
    live.submit(frame)
"""

from trocar.runtime.native.live import LiveCounts, NativeLive

__all__ = ["LiveCounts", "NativeLive"]
