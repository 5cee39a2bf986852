"""Find instruments in a video, a folder of images, a camera or a stream.

trocar run model.trocar video.mp4 --overlay out.mp4 --json out.jsonl
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from trocar.commands._help import GroupedCommand
from trocar.commands._run_config import (
    check_redacted,
    config_file_flags,
    config_values,
    save_config,
)
from trocar.commands._run_options import run_flags
from trocar.commands._run_request import RunRequest, request_from

if TYPE_CHECKING:
    from trocar.runtime.archive.state import Outcome


@click.command(cls=GroupedCommand)
@run_flags
@config_file_flags
@click.pass_context
def run(ctx: click.Context, /, **flags: Any) -> None:
    """Finds instruments in SOURCE: a video, a folder of images, a camera or a stream.

    Files are run without loss: every frame, in order. Their outputs are published atomically.
    Cameras and streams (and files with --live) are run live: the newest frame is shown, frames
    that are late are dropped and counted. The latency of every stage is printed at the end.

    With --out, SOURCE may be many recordings and patterns ('archive/**/*.mp4'). Each gets a folder
    of results. Recordings that are done are skipped, so that the same command continues after a
    stop.

    With --config, flags come from a TOML file: the key is the flag's name with underscores
    (save_frames = "frames"), MODEL and SOURCE are model and source.
    """
    check_redacted(ctx)
    request = request_from(flags)
    if flags["save_config"] is not None:
        save_config(ctx, flags["save_config"], overwrite=flags["overwrite"])
    if request.audit is None:
        start(request)
        return
    from trocar.commands._audit import audited

    with audited(request, config_values(ctx)) as finished:
        start(request, finished=finished)


def start(request: RunRequest, *, finished: Callable[[Outcome], None] | None = None) -> None:
    """Starts a file run, a live run or an archive.

    Args:
        request: What to do.
        finished: Called with the outcome of each recording of an archive.

    Raises:
        TrocarError: See the modules of the three modes.
    """
    if request.mode == "archive":
        from trocar.commands._archive import run_recordings

        run_recordings(request, finished=finished)
    elif request.mode == "live":
        from trocar.commands._live import run_live

        run_live(request)
    else:
        from trocar.commands._file import run_file

        run_file(request)
