"""The example of the documentation runs."""

from __future__ import annotations

import re

from places import ROOT

from trocar.cuda_kernels import DEFAULT_OFFSETS


def test_the_example_of_the_documentation() -> None:
    text = (ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    assert names["logits"].grad.any()
    assert names["wide"][:4] == DEFAULT_OFFSETS
