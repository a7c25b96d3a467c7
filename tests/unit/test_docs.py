"""What the pages name is there: every command with its options, every make target, every link, file and module."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from stream import metrics
from stream.cli import app
from stream.reading.query_class import classify_query
from stream.reading.record import read_record
from stream.settings import load

CHECKOUT = Path(__file__).parents[2]
PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])
PATH = re.compile(r"(?:stream|tests|docs|agents|tables|requirements|benchmarks|grafana|deploy|\.ci)/[\w./-]*|[A-Z]\w+\.md|\w+\.(?:toml|yml)")
MADE_BY_USERS = {"eddy.toml"}


def snippets(page: Path) -> Iterator[str]:
    """Read what a page shows as typed: the lines of its code blocks, and its inline code."""
    text = page.read_text()
    for block in re.findall(r"^ *```\w*\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        yield from (line.strip() for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL))


def commands(program: str) -> set[tuple[str, ...]]:
    """Find every call of a program on any page, as its words; what stands before it (settings, a path) and behind `#` or `|` is left out."""
    found = set()
    for snippet in {snippet for page in PAGES for snippet in snippets(page)}:
        if match := re.match(rf"(?:[A-Z_]+=\S* )*(?:\S*/)?{program} (?P<words>[^#|>&]+)", snippet):
            found.add(tuple(shlex.split(match["words"].replace("…", ""))))
    return found


def written_eddy_commands() -> list[tuple[str, ...]]:
    """Find the calls of `eddy`, for pytest to name its cases by."""
    return sorted(commands("eddy"))


def missing_from_cli(words: tuple[str, ...]) -> str:
    """Walk the command line's own tree; returns what it does not have, or nothing."""
    command = typer.main.get_command(app)
    for word in words:
        if word.startswith("-"):
            if word.partition("=")[0] not in {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}:
                return word
        elif (subcommands := getattr(command, "commands", None)) is not None:
            if word not in subcommands:
                return word
            command = subcommands[word]
        elif not any(parameter.param_type_name == "argument" for parameter in command.params) and not any(option.startswith("-") for option in words):
            return word
    return ""


def test_pages_show_commands() -> None:
    """A reader that finds nothing would let the tests below pass on any page."""
    assert {("up",), ("routes", "--watch"), ("doctor",)} <= set(written_eddy_commands())
    assert {("test",), ("test-kafka",), ("demo",)} <= commands("make")
    assert len(list(links())) > 10


@pytest.mark.parametrize("words", written_eddy_commands(), ids=" ".join)
def test_eddy_command_of_a_page_exists(words: tuple[str, ...]) -> None:
    """Whoever types what a page shows must not read `No such command`."""
    assert missing_from_cli(words) == ""


@pytest.mark.parametrize("words", [("there-is-none",), ("routes", "--there-is-none"), ("dead-letters", "there-is-none"), ("doctor", "there-is-none")])
def test_reader_sees_a_command_that_does_not_exist(words: tuple[str, ...]) -> None:
    """The broken twin of the test above."""
    assert missing_from_cli(words) == words[-1]


def test_make_targets_of_the_pages_exist() -> None:
    """The first thing that a newcomer types is a make target."""
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))

    assert {words[0] for words in commands("make")} - targets == set()


def modules() -> dict[str, set[str]]:
    """Find every `python -m MODULE`, with the options that it is shown with anywhere."""
    found: dict[str, set[str]] = {}
    for words in commands("python"):
        if words[0] == "-m":
            found.setdefault(words[1], set()).update(word for word in words[2:] if word.startswith("--"))
    return found


@pytest.mark.parametrize(("module", "options"), sorted(modules().items()))
def test_module_of_a_page_exists_and_knows_the_options_shown(module: str, options: set[str]) -> None:
    """`python -m tests.faults.oracle --kills 50` is for whoever doubts the promises: it must start as shown."""
    assert importlib.util.find_spec(module) is not None
    if options:
        said = subprocess.run([sys.executable, "-m", module, "--help"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
        assert {option for option in options if option not in said} == set()


def test_eddy_toml_of_the_readme_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first user copies it; a field that no longer exists would end every command."""
    (block,) = re.findall(r"^```toml\n(.*?)^```$", (CHECKOUT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "eddy.toml").write_text(block)
    monkeypatch.chdir(tmp_path)

    settings = load()

    assert ([arm.id for arm in settings.arms], settings.default_arm, settings.arm) == (["gpt-4", "gpt-3.5"], "gpt-4", "model")


def test_metrics_that_pages_name_exist() -> None:
    """An alert on a metric that does not exist never fires."""
    named = {match[1] for page in PAGES for snippet in snippets(page) if (match := re.fullmatch(r"(eddy_\w+)(\{.*\})?", snippet))}
    exported = {metric.name for registry in (metrics.WORKER, metrics.LEARNER) for metric in registry.collect()}

    assert len(named) > 4
    assert {name for name in named if name.removesuffix("_total") not in exported} == set()


@pytest.mark.parametrize("block", re.findall(r"^```json\n(.*?)^```$", (CHECKOUT / "docs/wire-format.md").read_text(), re.MULTILINE | re.DOTALL))
def test_record_of_the_wire_format_is_read(block: str) -> None:
    """Whoever writes a producer from the page copies its examples."""
    reading = read_record(block.encode(), max_bytes=1_000_000, classify=classify_query)

    assert reading.trace_id == "e207e52bb9d2573a"


def links() -> Iterator[tuple[Path, str]]:
    """Find every relative link, with the page that it is on."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)):
            if "://" not in target and not target.startswith("mailto:"):
                yield page, target


def anchors(page: Path) -> set[str]:
    """Name the headings of a page as GitHub does."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_relative_links_lead_somewhere() -> None:
    """A page that is not there is a promise of one."""
    broken = []
    for page, target in links():
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(f"{page.name}: {target}")

    assert broken == []


def test_files_that_pages_name_exist() -> None:
    """Pages say where things are; a file that has moved takes its sentence with it."""
    named = {(page.name, snippet) for page in PAGES for snippet in snippets(page) if PATH.fullmatch(snippet)}

    assert len(named) > 20
    assert {(page, name) for page, name in named if name not in MADE_BY_USERS and not (CHECKOUT / name).exists() and not (CHECKOUT / "docs" / name).exists()} == set()
