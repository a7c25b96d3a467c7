"""Which of the packages that training needs are installed, without importing any of them."""

from __future__ import annotations

from importlib.util import find_spec

from stream.errors import MissingExtraError

PACKAGES = ("torch", "transformers", "peft", "safetensors")
"""What the extra `train` brings and this package imports."""


def is_installed(package: str) -> bool:
    """Say whether a package can be imported, without importing it."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # an import hook that refuses it, or a module put in its place that has no spec
        return False


HAS_TORCH = is_installed("torch")
"""Whether torch is installed; the seed's name."""


def require(*packages: str, purpose: str, extra: str = "eddy-loop[train]") -> None:
    """Raise where a package is missing.

    Args:
        packages: by the names they are imported by.
        purpose: what needs them, as the subject of a sentence.
        extra: what to install.

    Raises:
        MissingExtraError: names those that are missing.
    """
    if missing := [package for package in packages if not is_installed(package)]:
        raise MissingExtraError(f"{', '.join(missing)} cannot be imported, but {purpose} needs {'it' if len(missing) == 1 else 'them'}; run `pip install '{extra}'`")
