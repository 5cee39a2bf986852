"""The runtime's fixtures stand in ``tests/support``, for the tests of the commands use them too."""

from __future__ import annotations

from runtime_fixtures import kit, minute, session, tiny, tiny_bundle, video

__all__ = ["kit", "minute", "session", "tiny", "tiny_bundle", "video"]
