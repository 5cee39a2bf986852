"""Looks for what is wrong with this machine and says how to mend it.

trocar doctor            a table
trocar doctor --json     the same for programs
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict

import click

from trocar.doctor.checks import CHECKS, Finding


def examine(checks: Iterable[Callable[[], Finding | list[Finding]]] = CHECKS) -> list[Finding]:
    """Runs the checks in order; a check that breaks is itself a finding."""
    findings: list[Finding] = []
    for check in checks:
        try:
            found = check()
        except Exception as error:
            found = Finding(
                check=check.__name__.removeprefix("check_"),
                state="fail",
                detail=f"the check broke: {error}",
                remedy="report this",
            )
        findings += found if isinstance(found, list) else [found]
    return findings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def doctor(as_json: bool) -> None:
    """Look for what is wrong with this machine, and say how to mend it.

    Exit code 1 when something that is installed does not work.
    """
    findings = examine()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        _print(findings)
    if any(finding.state == "fail" for finding in findings):
        raise click.exceptions.Exit(1)


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    style = {"ok": "green", "warn": "yellow", "fail": "bold red", "absent": "dim"}
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        detail = Text(finding.detail)
        if finding.remedy:
            detail.append(f"\n→ {finding.remedy}", style="dim" if finding.state == "absent" else "")
        state = Text(finding.state, style=style[finding.state])
        table.add_row(state, Text(finding.check, style="bold"), detail)
    Console().print(table)
