"""Leaves these tests out where torch is not installed, and says so; where it is, one thread, no hub, and no bars."""

from __future__ import annotations

import os

import pytest

from stream.training import HAS_TORCH

collect_ignore_glob = [] if HAS_TORCH else ["test_*.py"]

if HAS_TORCH:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.disable_progress_bar()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out: a test that nobody misses is not run for years."""
    if not HAS_TORCH:
        terminalreporter.write_line("left out: tests/training needs torch, transformers and peft; run `make test-train`, which installs them (some 6 GB) and runs it")
