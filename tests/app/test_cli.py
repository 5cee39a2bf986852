"""The command line: help without heavy imports, and errors in words."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest

from trocar.cli import COMMANDS, main
from trocar.contract.errors import ERRORS


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trocar.cli", *args], capture_output=True, text=True, check=False
    )


def test_help_imports_no_heavy_package() -> None:
    code = (
        "import sys\nfrom trocar.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'numpy', 'cv2', 'onnxruntime', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_has_help(name: str) -> None:
    module, _, attribute = COMMANDS[name].target.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"trocar {name} {parameter.opts[0]} has no help text"


def test_an_unknown_command_gets_the_nearest_name() -> None:
    done = run("exprot")
    assert done.returncode == 2
    assert "Did you mean export?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fault_ends_in_words_and_its_code(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["inspect", str(tmp_path)])
    assert stop.value.code == 4
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "manifest.json" in err
    assert "→" in err


def test_codes_are_unique_and_never_zero() -> None:
    codes = [error.code for error in ERRORS]
    assert len(set(codes)) == len(codes)
    assert 0 not in codes
