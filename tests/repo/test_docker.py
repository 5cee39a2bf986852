"""The rules of the container files; they are checked here, since a builder is not at hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import ROOT

FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
VERSIONS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
)
SETUP = (ROOT / "setup.py").read_text()


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and value of each instruction; continued lines are joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [line.split(maxsplit=1) for line in joined.splitlines()]
    return [(name, value) for name, value in found]


def faults(text: str) -> list[str]:
    """What breaks a rule."""
    found = []
    steps = instructions(text)
    last = max(i for i, (name, _) in enumerate(steps) if name == "FROM")
    final = dict(steps[last:])
    for name, value in steps:
        if name == "FROM" and not re.match(r"[a-z0-9./-]+:[\w.-]*[0-9][\w.-]*( AS \w+)?$", value):
            found.append(f"FROM {value} states no version")
        if name == "ADD":
            found.append("ADD instead of COPY")
        if name == "RUN":
            found += _faults_of_run(value)
        if name in ("ENTRYPOINT", "CMD") and not value.startswith("["):
            found.append(f"{name} runs in a shell, which takes no signals")
        if name == "COPY" and "--from" not in value:
            sources = [word for word in value.split()[:-1] if not word.startswith("--")]
            found += [f"COPY of {s}, which is not here" for s in sources if not (ROOT / s).exists()]
    if final.get("USER", "root") in ("root", "0") or steps[-1][0] == "RUN":
        found.append("the last user is root")
    if "doctor" not in final.get("HEALTHCHECK", "") or "--timeout" not in final["HEALTHCHECK"]:
        found.append("no health check by doctor with a time limit")
    label = re.search(r'trocar-sbom="([^"]+)"', final.get("LABEL", ""))
    written = [v for name, v in steps[last:] if name == "RUN" and "make_sbom.py" in v]
    if label is None or not any(label[1] in value for value in written):
        found.append("the label names no bill of materials that is written")
    version = re.search(r'version="([^"]+)"', final.get("LABEL", ""))
    if version is None or f'version="{version[1]}"' not in SETUP:
        found.append("the label has another version than setup.py")
    for package, stated in re.findall(r"([a-z_-]+)==([0-9.]+[0-9])", text):
        if package != "trocar" and VERSIONS.get(package) != stated:
            found.append(f"{package}=={stated} is not the version of constraints.txt")
    for extras in re.findall(r"\[([a-z,]+)\]", text):
        found += [f"there is no extra {e}" for e in extras.split(",") if f'"{e}": ' not in SETUP]
    return found


def _faults_of_run(value: str) -> list[str]:
    found = []
    if "apt-get install" in value:
        if not value.startswith("apt-get update &&"):
            found.append("apt-get install without apt-get update in the same step")
        if "--no-install-recommends" not in value or " -y" not in value:
            found.append("apt-get install without -y --no-install-recommends")
        if "rm -rf /var/lib/apt/lists/*" not in value:
            found.append("the lists of apt stay in the image")
    for command in re.findall(r"pip (?:install|wheel)[^&]*", value):
        if "--no-cache-dir" not in command:
            found.append("pip without --no-cache-dir")
    if re.search(r"\b(sudo|curl|wget)\b", value):
        found.append("something is fetched or run as another user")
    return found


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert {file.name.split(".")[0] for file in FILES} == {"cpu", "cuda", "dev", "jetson"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_rules_hold(file: Path) -> None:
    assert faults(file.read_text()) == []
    documented = (ROOT / "docs" / "containers.md").read_text()
    assert f"docker/{file.name}" in documented


CHANGES = {
    "states no version": ("FROM python:3.11-slim-bookworm\n", "FROM python:latest\n"),
    "the last user is root": ("USER trocar\n", ""),
    "no health check": ('CMD ["trocar", "doctor"]', 'CMD ["true"]'),
    "another version": ('version="0.1.0"', 'version="0.0.9"'),
    "bill of materials": ("/usr/share/trocar/sbom.cdx.json \\\n    && rm", "/tmp/x \\\n    && rm"),
    "runs in a shell": ('ENTRYPOINT ["trocar"]', "ENTRYPOINT trocar"),
    "not the version of constraints.txt": ("packaging==26.3", "packaging==1.0"),
    "there is no extra": ("[cpu,signing]", "[cpus,signing]"),
    "--no-install-recommends": ("--no-install-recommends ", ""),
    "lists of apt": ("    && rm -rf /var/lib/apt/lists/*\n", "    && true\n"),
    "--no-cache-dir": ("--no-cache-dir --no-index", "--no-index"),
    "not here": ("COPY scripts/make_sbom.py", "COPY scripts/no_sbom.py"),
}


@pytest.mark.parametrize("fault", CHANGES)
def test_each_rule_finds_its_fault(fault: str) -> None:
    text = (ROOT / "docker" / "cpu.Dockerfile").read_text()
    old, new = CHANGES[fault]
    assert old in text
    assert any(fault in found for found in faults(text.replace(old, new)))


def test_what_is_left_out_of_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "runtime/cpp/build*", "trocar/native"} <= set(ignored)
