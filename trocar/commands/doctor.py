"""Check this machine: Python packages, driver, codecs, cameras and disk.

trocar doctor            # a table
trocar doctor --json     # the same for programs
"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from trocar.console.doctor import print_findings
from trocar.doctor.checks import examine


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--load", is_flag=True, help="Import torch as well: slower, finds broken files.")
def doctor(as_json: bool, load: bool) -> None:
    """Check this machine and say how to repair what does not work.

    Exit code 1: something that is installed does not work.
    """
    findings = examine(load=load)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        print_findings(findings)
    if any(finding.state == "fail" for finding in findings):
        raise click.exceptions.Exit(1)
