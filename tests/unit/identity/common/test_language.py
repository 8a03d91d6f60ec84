"""Tests which language a list of wishes chooses, and how the operator's own catalogues count."""

import json
from pathlib import Path

import pytest

from sshaft.errors import ConfigurationError
from sshaft_identity.common.language import Filled, Languages, _, ngettext, preferred, speaking

HEAD = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"
"""


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", ["de-AT", "de", "en"]),
        ("en;q=0.2, fr, de;q=0.5", ["fr", "de", "en"]),
        ("de;q=0,en", ["en"]),
        ("", [""]),
        ("de;q=high", ["de"]),
        (",".join(f"a{n}" for n in range(1000)), [f"a{n}" for n in range(20)]),
    ],
)
def test_header_is_sorted_by_quality(header: str, tags: list[str]) -> None:
    assert preferred(header) == tags


@pytest.mark.parametrize(
    ("tags", "chosen"),
    [
        (["de"], "de"),
        (["de-AT"], "de"),
        (["DE_ch"], "de"),
        (["xx", "de", "en"], "de"),
        (["en-GB", "de"], "en"),
        (["../de", "d" * 100, "", "*"], None),
        (["xx"] * 1000 + ["de"], None),
    ],
)
def test_first_language_that_there_is_counts(tags: list[str], chosen: str | None) -> None:
    found = Languages().first_of(tags)
    assert (found and found.tag) == chosen


def test_catalogue_of_the_operator_changes_some_texts_and_keeps_the_others(tmp_path: Path) -> None:
    (tmp_path / "de.po").write_text(f'{HEAD}\nmsgid "My keys"\nmsgstr "Ihre Schlüssel"\n')
    (tmp_path / "en.po").write_text(f'{HEAD}\nmsgid "My keys"\nmsgstr "Your keys"\n')
    languages = Languages(tmp_path).all
    with speaking(languages["de"]):
        assert (_("My keys"), _("Sign out")) == ("Ihre Schlüssel", "Abmelden")
    with speaking(languages["en"]):
        assert (_("My keys"), _("Sign out")) == ("Your keys", "Sign out")
    assert (_("My keys"), ngettext("a", "b", 2)) == ("My keys", "b")


@pytest.mark.parametrize(("tag", "direction"), [("ar", "rtl"), ("he_IL", "rtl"), ("fr", "ltr")])
def test_language_has_the_direction_of_its_script(tmp_path: Path, tag: str, direction: str) -> None:
    (tmp_path / f"{tag}.po").write_text(HEAD)
    assert Languages(tmp_path).all[tag.replace("_", "-")].direction == direction


def test_catalogue_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "fr.po").write_bytes(b'msgid "\xff')
    with pytest.raises(ConfigurationError, match=r"languages: .*fr\.po cannot be read"):
        Languages(tmp_path)
    with pytest.raises(ConfigurationError, match="is no folder"):
        Languages(tmp_path / "missing")


@pytest.mark.parametrize(
    ("text", "translation"),
    [("{time} left", "{tiem}"), ("{time} left", "{time"), ("Login to %(app)s", "%(ap)s"), ("Login to %(app)s", "100 %"),
     ("{time} left", "{time.__class__}"), ("{time} left", "{}"), ("Login to %(app)s", "%(app)d")],
)  # fmt: skip
def test_translation_that_would_break_a_page_is_refused(tmp_path: Path, text: str, translation: str) -> None:
    (tmp_path / "fr.po").write_text(f'msgid "{text}"\nmsgstr "{translation}"\n')
    with pytest.raises(ConfigurationError, match=r"the translation of '.*' has other places"):
        Languages(tmp_path)


def test_catalogue_needs_no_header_and_not_every_place(tmp_path: Path) -> None:
    (tmp_path / "fr.po").write_text('msgid "{time} left"\nmsgstr "bientôt fini"\n', encoding="utf-8")
    with speaking(Languages(tmp_path).all["fr"]):
        assert _("{time} left") == "bientôt fini"


def test_catalogue_is_named_by_its_language(tmp_path: Path) -> None:
    """Scripts of the page give the name to the browser, which fails for a name that is no language."""
    (tmp_path / "my texts.po").write_text(HEAD)
    with pytest.raises(ConfigurationError, match=r"my texts\.po has no language as its name"):
        Languages(tmp_path)


def test_filled_text_is_english_for_programs_and_translated_for_people(tmp_path: Path) -> None:
    (tmp_path / "fr.po").write_text(f'{HEAD}\nmsgid "{{most}} keys"\nmsgstr "clés : {{most}}"\n')
    text = Filled("{most} keys", most=3)
    assert (str(text), json.dumps([text])) == ("3 keys", '["3 keys"]')
    with speaking(Languages(tmp_path).all["fr"]):
        assert _(text) == "clés : 3"


def test_empty_text_stays_empty() -> None:
    """The catalogues have their own headers under the empty text."""
    with speaking(Languages().all["de"]):
        assert _("") == ""
