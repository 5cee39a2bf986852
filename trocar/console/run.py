"""Terminal output of the runtime's commands: progress bar, latencies, bundle, benchmark.

console().print(latency_table(Stages()))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from trocar.console.progress import progress_bar
from trocar.contract.bundle import Bundle
from trocar.contract.errors import MissingExtraError
from trocar.contract.manifest import Manifest
from trocar.contract.tensorrt.engines import engine_fitness, engines_of
from trocar.contract.text.licences import LICENCES, WHAT, licence_warnings, licences_of
from trocar.runtime.backends.engine_selection import environment_here
from trocar.runtime.sinks.openigtlink.sink import OpenIGTLinkSink
from trocar.runtime.telemetry.latency import Stages

if TYPE_CHECKING:
    from trocar.runtime.benchmark import BenchmarkRow, LiveRow
    from trocar.runtime.live.stream import LiveStream
    from trocar.runtime.pipeline.counters import Summary
    from trocar.runtime.pipeline.offline import Progress as Report
    from trocar.runtime.sinks.base import Sink

_ORDER = (
    "input",
    "decode",
    "wait",
    "infer",
    "smooth",
    "locate",
    "classify",
    "track",
    "presence",
    "draw",
    "sink",
    "total",
    "display",
    "age",
    "mask age",
)


def console() -> Console:
    """A console on the standard error, because the standard output is for data."""
    return Console(stderr=True, soft_wrap=False)


@contextmanager
def frame_progress(title: str) -> Iterator[Report]:
    """A bar with frames, rate and time left, as a callback of a run."""
    with progress_bar(title, unit="frames") as bar:
        yield lambda counts, total: bar.update(counts.processed, total)


def latency_table(stages: Stages) -> Table:
    """Milliseconds per stage: p50, p95, p99, max."""
    table = Table(title="milliseconds per frame", title_justify="left", header_style="bold")
    table.add_column("stage")
    for head in ("p50", "p95", "p99", "max"):
        table.add_column(head, justify="right")
    names = list(stages)
    for name in sorted(names, key=lambda n: _ORDER.index(n) if n in _ORDER else len(_ORDER)):
        durations = stages[name]
        table.add_row(
            name,
            *(f"{durations.percentile(p):.2f}" for p in (50, 95, 99)),
            f"{durations.max_ms:.2f}",
        )
    return table


def live_table(streams: Sequence[LiveStream]) -> Table:
    """State, counts and ages of each stream."""
    table = Table(header_style="bold")
    for head in ("stream", "state", "read", "shown", "dropped", "analysed", "late"):
        table.add_column(head, justify="left" if head in ("stream", "state") else "right")
    for head in ("infer p50", "age p50", "age p99", "age max"):
        table.add_column(head, justify="right")
    for stream in streams:
        counts, age = stream.counts, stream.stages["age"]
        colour = {"LIVE": "green", "DEGRADED": "yellow"}.get(stream.health.state, "red")
        table.add_row(
            escape(stream.source.name),
            f"[{colour}]{stream.health.state}[/] {escape('; '.join(stream.health.reasons))}",
            *(str(v) for v in (counts.read, counts.written, counts.dropped)),
            *(str(v) for v in (counts.processed, counts.missed)),
            f"{stream.stages['infer'].percentile(50):.1f}",
            *(f"{age.percentile(p):.1f}" for p in (50, 99)),
            f"{age.max_ms:.1f}",
        )
    return table


def served_lines(sinks: Iterable[Sink]) -> list[str]:
    """Where other programs find what a run serves."""
    return [sink.name for sink in sinks if isinstance(sink, OpenIGTLinkSink)]


def print_summary(summary: Summary, *, source: str, screen: Console | None = None) -> None:
    """Prints the table of latencies, and one line of counts; default: on the standard error."""
    screen = screen or console()
    screen.print(latency_table(summary.stages))
    counts = summary.counts
    rate = counts.processed / summary.seconds if summary.seconds else 0.0
    for note in summary.notes:
        screen.print(f"note: {escape(source)} {escape(note)}", highlight=False, soft_wrap=True)
    if summary.damage:
        text = ": ".join(t for t in (summary.damage.text, summary.damage.ends_early) if t)
        screen.print(f"damaged: {escape(source)}: {escape(text)}", highlight=False, soft_wrap=True)
    losses = "".join(
        f", {number} {word}"
        for number, word in (
            (counts.dropped, "dropped"),
            (counts.missed, "late"),
            (counts.failed, "failed"),
            (counts.damaged, "damaged packets or frames"),
        )
        if number
    )
    spent = summary.processor_ms
    cost = "" if spent is None else f", {spent:.1f} ms of processor time a frame"
    screen.print(
        f"{escape(source)}: {counts.read} frames read, {counts.processed} processed, "
        f"{counts.written} written{losses} in {summary.seconds:.1f} s "
        f"({rate:.1f} frames/s{cost})",
        highlight=False,
        soft_wrap=True,
    )
    screen.file.flush()


def bundle_tables(bundle: Bundle) -> list[Table]:
    """Facts and classes of a bundle."""
    manifest = bundle.manifest
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    spec, licences = manifest.input, licences_of(manifest.source)
    size = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
    for key, value in (
        ("name", manifest.name),
        ("task", manifest.task),
        ("method", manifest.method),
        ("precision", manifest.precision),
        (
            "input",
            f"{spec.name}: uint8 [batch, H, W, 3] RGB, resized to {spec.height}x{spec.width}",
        ),
        *nv12_rows(manifest),
        ("outputs", "; ".join(f"{o.name} {o.dtype} {list(o.shape)}" for o in manifest.outputs)),
        ("golden margin", f"{manifest.golden_margin:g}"),
        ("schema", manifest.schema),
        ("size", f"{size / 1e6:.1f} MB in {len(manifest.files) + 1} files, all hashes correct"),
        *((f"licence of {WHAT[name]}", text) for name, text in licences.items()),
        *(("warning", text) for text in licence_warnings(licences)),
        *((f"source.{k}", str(v)) for k, v in manifest.source.items() if k != LICENCES),
    ):
        facts.add_row(f"[bold]{key}", escape(value))
    classes = Table(title="classes", title_justify="left", header_style="bold")
    for head in ("id", "name", "colour", "instrument", "type", "part"):
        classes.add_column(head)
    for row in manifest.classes:
        swatch = "#{:02x}{:02x}{:02x}".format(*row.colour)
        classes.add_row(
            str(row.id),
            escape(row.name),
            f"[on {swatch}]  [/] {swatch}",
            "yes" if row.instrument else "",
            escape(row.type),
            escape(row.part),
        )
    return [facts, classes]


def nv12_rows(manifest: Manifest) -> list[tuple[str, str]]:
    """How many labels of the NV12 form are equal to the RGB form's; empty without one."""
    if not manifest.takes_nv12:
        return []
    found = manifest.extra.get("nv12")
    equal = found.get("equal") if isinstance(found, Mapping) else None
    share = f"; {equal:.2%} of labels as from RGB" if isinstance(equal, float) else ""
    return [("", f"luma uint8 [batch, H, W], chroma [batch, H/2, W/2, 2] (NV12){share}")]


def engine_tables(bundle: Bundle) -> list[Table]:
    """A bundle's engines, and whether each fits this machine; empty when it has none."""
    sidecars = engines_of(bundle)
    if not sidecars:
        return []
    table = Table(title="engines", title_justify="left", header_style="bold")
    for head in ("file", "built by", "precision", "frame sizes", "GPU", "fits this machine"):
        table.add_column(head, overflow="fold")
    for name, sidecar in sidecars.items():
        try:
            here = environment_here(bundle, flavour=sidecar.flavour, device="cuda:0")
            reasons = engine_fitness(sidecar, here)
        except MissingExtraError as error:
            reasons = [error.message]
        table.add_row(
            name,
            f"{sidecar.flavour} {sidecar.version}",
            sidecar.precision_found,
            str(sidecar.profile),
            sidecar.gpu or sidecar.hardware,
            escape("; ".join(reasons)) or "yes",
        )
    return [table]


def benchmark_table(rows: Sequence[BenchmarkRow]) -> Group:
    """A table of `trocar benchmark`, then a line for each backend that did not run."""
    table = Table(title="one frame at a time", title_justify="left", header_style="bold")
    table.add_column("backend", no_wrap=True)
    table.add_column("device", no_wrap=True)
    table.add_column("", no_wrap=True)
    for head in ("MB", "p50", "p95", "p99 ms", "fps", "equal"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        if not row.reason:
            table.add_row(
                *(row.backend, row.device, row.precision),
                *(f"{v:.1f}" for v in (row.megabytes, row.p50, row.p95, row.p99, row.fps)),
                f"{row.equal:.2%}",
            )
    missing = [
        Text(f"did not run: {row.backend} {row.precision} on {row.device}: {row.reason}")
        for row in rows
        if row.reason
    ]
    return Group(table, *missing)


def rates_table(rows: Sequence[LiveRow]) -> Group:
    """A table for each backend of `trocar benchmark --live`, then why the others did not run."""
    tables: dict[str, Table] = {}
    slow, missing = [], {}
    for row in rows:
        name = f"{row.backend} {row.precision} on {row.device}"
        if row.reason:
            missing[name] = row.reason
            continue
        if name not in tables:
            alone = f"{row.alone_p50:.1f} ms a run without rest{_at(row.alone_clock_mhz)}"
            tables[name] = table = Table(title=f"{name}: {alone}", title_justify="left")
            for head in ("frames/s", "age p50", "age p99", "run ms", "dropped", "MHz"):
                table.add_column(head, justify="right", no_wrap=True)
        tables[name].add_row(
            f"{row.rate:g}",
            *(f"{value:.1f}" for value in (row.age_p50, row.age_p99, row.run_p50)),
            f"{row.dropped} of {row.processed + row.dropped}",
            "" if row.clock_mhz is None else f"{row.clock_mhz:.0f}",
        )
        if row.fed < 0.9 * row.rate:
            slow.append(f"{name}: only {row.fed:g} of {row.rate:g} frames/s were fed")
    lines = [*slow, *(f"did not run: {name}: {reason}" for name, reason in missing.items())]
    return Group(*tables.values(), *(Text(line) for line in lines))


def _at(clock_mhz: float | None) -> str:
    return "" if clock_mhz is None else f" at {clock_mhz:.0f} MHz"
