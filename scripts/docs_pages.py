"""MkDocs hook: adds the pages that are made from other files of the repository.

mkdocs build --strict     # reads `hooks:` of mkdocs.yml

Pages are made of: the help of every command, the docstrings of every public module, the tables of
``benchmarks/results``, CHANGELOG.md and CONTRIBUTING.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("contract", "train", "export", "runtime", "cuda_kernels")
RESULTS = "benchmarks/results"
_PACKAGE = "\n    options:\n      members: false\n      show_root_heading: false"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the generated pages to the navigation."""
    assert config.nav is not None
    reference = [{package: [f"reference/{name}.md" for name in _pages(package)]}
                 for package in PACKAGES]  # fmt: skip
    config.nav += [
        {"Commands": "commands.md"},
        {"Reference": reference},
        {"Measurements": [f"{RESULTS}/{path.name}" for path in _tables()]},
        {"Project": [{"Contributing": "CONTRIBUTING.md"}, {"Changes": "CHANGELOG.md"}]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, and the measurements that pages link to."""
    pages = {"commands.md": _commands()}
    for package in PACKAGES:
        pages |= {f"reference/{name}.md": text for name, text in _pages(package).items()}
    for path in (ROOT / RESULTS).iterdir():
        if path.suffix in (".md", ".json"):
            pages[f"{RESULTS}/{path.name}"] = path.read_text(encoding="utf-8")
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        pages[name] = (ROOT / name).read_text(encoding="utf-8")
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes links between the folders of the repository links between pages of the site."""
    uri = page.file.src_uri
    if uri in ("CONTRIBUTING.md", "CHANGELOG.md"):
        return re.sub(r"\]\(docs/", "](", markdown)
    if uri.startswith(RESULTS):
        return re.sub(r"\]\((?:\.\./)*docs/", "](../../", markdown)
    return re.sub(r"\]\(\.\./(benchmarks/results/|CONTRIBUTING|CHANGELOG)", r"](\1", markdown)


def _tables() -> list[Path]:
    return sorted((ROOT / RESULTS).glob("*.md"))


def _pages(package: str) -> dict[str, str]:
    """One page a folder of a package: the docstrings of its public modules."""
    pages: dict[str, list[str]] = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        private = any(part.startswith("_") and part != "__init__" for part in parts)
        if private or "cpp" in parts:
            continue
        folder = ".".join(parts[:-1])
        module = folder if parts[-1] == "__init__" else ".".join(parts)
        options = _PACKAGE if parts[-1] == "__init__" else ""
        pages.setdefault(folder, []).append(f"::: trocar.{module}{options}")
    return {
        folder: f"# trocar.{folder}\n\n" + "\n\n".join(blocks) + "\n"
        for folder, blocks in pages.items()
    }


def _commands() -> str:
    from trocar.cli import cli

    parts = ["# Commands\n", "The output of `--help` for every command.\n"]
    context = click.Context(cli, info_name="trocar", **cli.context_settings)
    for path, text in _helps(cli, context):
        level = "##" if path.count(" ") < 2 else "###"
        parts.append(f"{level} {path}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _helps(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    context.terminal_width, context.max_content_width = 84, 84
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from _helps(found, click.Context(found, info_name=name, parent=context))
