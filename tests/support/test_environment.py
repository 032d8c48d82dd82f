from __future__ import annotations

import logging
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metrics_collector._errors import ConfigurationError
from metrics_collector._support import environment as environment_module
from metrics_collector._support.environment import metrics_enabled
from metrics_collector._support.settings import Settings

TRUE = ["1", "on", "t", "true", "y", "yes"]
FALSE = ["0", "off", "f", "false", "n", "no"]
LOGGER = "metrics_collector"

# What an environment can hold.
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SPELLINGS = st.sampled_from(TRUE + FALSE).flatmap(
    lambda word: st.tuples(*(st.sampled_from([c.lower(), c.upper()]) for c in word)).map("".join)
)


@pytest.fixture(autouse=True)
def fresh() -> None:
    environment_module._parse.cache_clear()
    environment_module._warn.cache_clear()


def dotenv(text: str) -> None:
    Path(".env").write_text(text, encoding="utf-8")


def test_unset_means_enabled() -> None:
    assert metrics_enabled()


@pytest.mark.parametrize("place", ["environment", ".env"])
@pytest.mark.parametrize("word", TRUE + FALSE)
def test_words(word: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for spelling in (word, word.upper(), word.title(), f" {word}\t"):
        if place == "environment":
            monkeypatch.setenv("METRICS_ENABLED", spelling)
        else:
            dotenv(f"METRICS_ENABLED='{spelling}'\n")
        assert metrics_enabled() is (word in TRUE)


@pytest.mark.parametrize("empty", ["", " "])
def test_environment_wins_unless_empty(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv("METRICS_ENABLED=false\n")
    monkeypatch.setenv("METRICS_ENABLED", "true")
    assert metrics_enabled()
    monkeypatch.setenv("METRICS_ENABLED", empty)
    assert not metrics_enabled()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("METRICS_ENABLED=off", False),
        ("export METRICS_ENABLED = 'off'  # for now", False),
        ('A="several\nlines"\nMETRICS_ENABLED="off"\r\n', False),
        ("\ufeffMETRICS_ENABLED=off", False),
        ("'METRICS_ENABLED'=off", False),
        ("METRICS_ENABLED=on\nMETRICS_ENABLED=off", False),
        ("SWITCH=off\nMETRICS_ENABLED=${SWITCH}", False),
        ("METRICS_ENABLED=off\nMETRICS_ENABLED=", True),
        ("METRICS_ENABLED", True),
        ("METRICS_ENABLED=", True),
        ("# METRICS_ENABLED=off", True),
        ("OTHER='METRICS_ENABLED=off'", True),
        ("metrics_enabled=off\nMETRICS_ENABLED2=off\nENABLED=off", True),
        ("", True),
    ],
)
def test_dotenv_forms(text: str, expected: bool) -> None:
    dotenv(text)
    assert metrics_enabled() is expected
    assert Settings().enabled is expected


def test_changes_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv("METRICS_ENABLED=${SWITCH}")
    monkeypatch.setenv("SWITCH", "no")
    assert not metrics_enabled()
    monkeypatch.setenv("SWITCH", "yes")
    assert metrics_enabled()
    dotenv("METRICS_ENABLED=no")
    assert not metrics_enabled()
    Path(".env").unlink()
    assert metrics_enabled()


def test_a_file_is_parsed_once_for_all_functions(caplog: pytest.LogCaptureFixture) -> None:
    dotenv("= a line that python-dotenv warns about\nMETRICS_ENABLED=no\n")
    assert [metrics_enabled() for _ in range(5)] == [False] * 5
    assert [record.name for record in caplog.records] == ["dotenv.main"]


def test_wrong_value_is_logged_once_and_taken_as_true(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("METRICS_ENABLED", "flase")
    assert [metrics_enabled() for _ in range(5)] == [True] * 5
    [record] = caplog.records
    assert (record.name, record.levelno) == (LOGGER, logging.WARNING)
    assert "METRICS_ENABLED='flase'" in record.getMessage()
    assert "false" in record.getMessage()


def unreadable(kind: str) -> None:
    match kind:
        case "folder":
            Path(".env").mkdir()
        case "latin-1":
            Path(".env").write_bytes("METRICS_ENABLED=false # größer".encode("latin-1"))
        case _:  # refused even to the superuser
            Path(".env").symlink_to(".env")


@pytest.mark.parametrize("kind", ["folder", "latin-1", "circle of links"])
def test_unreadable_dotenv_counts_as_unset(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unreadable(kind)
    assert metrics_enabled()
    monkeypatch.setenv("METRICS_ENABLED", "false")
    assert not metrics_enabled()
    assert not caplog.records


def test_a_folder_of_that_name_is_no_dotenv() -> None:
    unreadable("folder")
    assert Settings() == Settings(max_items=100)


@pytest.mark.parametrize(
    ("kind", "remedy"), [("latin-1", "save it as UTF-8"), ("circle of links", "make it readable")]
)
def test_unreadable_dotenv_is_an_error_for_settings(kind: str, remedy: str) -> None:
    unreadable(kind)
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    assert str(Path(".env").absolute()) in str(caught.value)
    assert remedy in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "loaded"),
    [(None, []), ("REDIS_URL=redis://localhost", []), ("METRICS_ENABLED=no", ["dotenv"])],
)
def test_loads_dotenv_only_for_a_file_that_names_it(text: str | None, loaded: list[str]) -> None:
    if text is not None:
        dotenv(text)
    program = (
        "import sys; from metrics_collector._support.environment import metrics_enabled\n"
        "metrics_enabled()\n"
        "print([n for n in ('dotenv', 'pydantic', 'pydantic_settings') if n in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(loaded)


def settings_say() -> bool | None:
    try:
        return Settings().enabled
    except ConfigurationError:
        return None


@given(
    st.none() | VALUES | SPELLINGS,
    st.none() | VALUES | SPELLINGS,
    st.sampled_from(["{}", "'{}'", '"{}"', " {} ", "{} # why", "\ufeff{}"]),
)
@example("", "no", "{}")
@example("fal\u017fe", None, "{}")  # its upper case is FALSE
def test_agrees_with_settings(environment: str | None, file: str | None, form: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Path(".env").unlink(missing_ok=True)
        patch.delenv("METRICS_ENABLED", raising=False)
        if environment is not None:
            patch.setenv("METRICS_ENABLED", environment)
        if file is not None:
            dotenv(f"METRICS_ENABLED={form.format(file)}\n")
        expected = settings_say()
        assert metrics_enabled() is (True if expected is None else expected)


@pytest.mark.parametrize("word", TRUE + FALSE)
def test_every_spelling_is_valid_for_settings(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for letters in product(*({c.lower(), c.upper()} for c in word)):
        monkeypatch.setenv("METRICS_ENABLED", "".join(letters))
        assert Settings().enabled is metrics_enabled() is (word in TRUE)


@given(st.binary() | VALUES.map(str.encode))
def test_no_file_breaks_the_decorator(content: bytes) -> None:
    Path(".env").write_bytes(b"METRICS_ENABLED=" + content)
    assert metrics_enabled() in {True, False}
