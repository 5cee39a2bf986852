"""Griffe extension: shows the examples of module docstrings as code.

In the source an example is a plain paragraph; Markdown needs four spaces before each line.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from example_sources import is_example


class Examples(griffe.Extension):
    """Indents the paragraphs of module docstrings that are examples."""

    def on_module_instance(self, *, mod: griffe.Module, **others: Any) -> None:
        """Changes the docstring of one module."""
        if mod.docstring is not None:
            paragraphs = re.split(r"\n\s*\n", mod.docstring.value)
            mod.docstring.value = "\n\n".join(
                re.sub(r"^", "    ", text, flags=re.MULTILINE) if is_example(text) else text
                for text in paragraphs
            )
