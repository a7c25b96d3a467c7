"""The README's client as a reader would copy it: its program, ready to run."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
README = CHECKOUT / "README.md"

STUB = """\
async def call(model, prompt):
    return "sorted(xs)"


"""
"""What the reader brings: a call to a model."""

TOKENS, COST_USD, SCORE = 812, 0.0121, 1.0
"""What the program says of its one request."""


def client_program() -> str:
    """Read the one Python block of the README, letter by letter, behind a `call` that answers without a model."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    return STUB + block
