"""The page for operators names every setting, with the default that the code has, and files as they are called."""

import re
from pathlib import Path

from stream.archive.restore import ARCHIVE_FILE
from stream.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
ROW = re.compile(r"^\| (?P<names>(?:`[A-Z_]+`(?:, )?)+) \| (?P<default>[^|]+) \|", re.MULTILINE)


def documented() -> dict[str, str]:
    """Read the table of settings: default by name, both as the page has them."""
    return {name.strip("` ").lower(): row["default"].strip("` ") for row in ROW.finditer(PAGE) for name in row["names"].split(",")}


def test_page_names_every_setting_and_no_other() -> None:
    """A setting that nobody can find is no setting, and one that does not exist is worse."""
    assert set(documented()) == set(Settings.model_fields)


def test_page_gives_the_defaults_of_the_code() -> None:
    """An operator who reads the page must know what runs without any setting; words stand for empty values."""
    words = {"empty": "", "none": None}
    said = documented()

    for name, field in Settings.model_fields.items():
        default = field.default.get_secret_value() if hasattr(field.default, "get_secret_value") else field.default
        assert said[name] == str(default) or words.get(said[name], 0) == (default or (None if default in (None, ()) else "")), name


def test_page_names_the_archive_as_it_is_called() -> None:
    """Whoever sets up a backup by this page must not back up a file that is not there."""
    assert set(re.findall(r"`(archive\.\w+)`", PAGE)) == {ARCHIVE_FILE}


def test_decisions_are_numbered_without_a_gap() -> None:
    """A gap looks like a page that is missing; the heading says the number that the file has."""
    pages = sorted((Path(__file__).parents[2] / "docs" / "adr").glob("*.md"))

    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    assert [page.read_text().split(".")[0] for page in pages] == [f"# {number}" for number in range(1, len(pages) + 1)]
