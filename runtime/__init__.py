"""The runtime: bundle and video in, located instruments out. Never imports torch.

from trocar.runtime import Session
result = Session.open("model.trocar").run(frame)
"""

from trocar.runtime.session import Session

__all__ = ["Session"]
