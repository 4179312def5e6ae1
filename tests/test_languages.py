"""Which names of folders mean a language, and which languages are the same."""

import pytest

from vocabopt.text.scripts import _CODE_OF, language_of, parse_scripts, scripts_of_language


@pytest.mark.parametrize(
    ("names", "language"),
    [
        ("ko kor ko-KR ko_KR ko-kr kor_Hang Korean KOREAN ko-Hang-KR", "ko"),
        ("en eng en-US en_GB English", "en"),
        ("ja jpn jpn_Jpan japanese", "ja"),
        ("de deu ger german", "de"),
        ("es es-419 spanish", "es"),
        ("zh zho chi zh-CN chinese mandarin", "zh"),
        ("zh-Hant zh_Hant zh-Hant-TW zho_Hant", "zh-Hant"),
        ("sr-Latn srp_Latn", "sr-Latn"),
        ("arb ar ara arabic", "ar"),
        ("fil filipino", "fil"),
    ],
)
def test_a_language_by_any_of_its_names(names: str, language: str) -> None:
    assert {name: language_of(name) for name in names.split()} == dict.fromkeys(names.split(), language)


def test_words_that_name_folders_are_no_language() -> None:
    words = (
        *("src", "raw", "sub", "dev", "tmp", "new", "old", "out", "bin", "doc", "law", "log", "lib", "run", "bak"),
        *("mac", "map", "test", "train", "data", "text", "news", "wiki", "chat", "k", "korea", "koko", "ko2", "ko-"),
        *("-ko", "ko.KR", "ko-KR-x", "ko/", "a1", "2024", "web", "pdf", "sql", "api", "img", "art", "box"),
    )
    assert [word for word in [*words, "", "ko KR", "ko\n"] if language_of(word) is not None] == []


def test_every_code_is_one_of_the_registry() -> None:
    pycountry = pytest.importorskip("pycountry", reason="the ISO 639 tables come with lm-eval")
    languages = pycountry.languages
    two = {entry.alpha_2: entry for entry in languages if hasattr(entry, "alpha_2")}
    # All of ISO 639-1 but sh, which was withdrawn, by each code that the registry has for it.
    for code, entry in two.items():
        if code != "sh":
            assert language_of(code) == code
            other = language_of(entry.alpha_3)
            assert other == code or (other is None and entry.alpha_3 in ("bak", "div", "run")), code
    three = {entry.alpha_3 for entry in languages}
    for first in "abcdefghijklmnopqrstuvwxyz":
        for second in "abcdefghijklmnopqrstuvwxyz":
            for third in "abcdefghijklmnopqrstuvwxyz":
                word = first + second + third
                found = language_of(word)
                known = word in three or any(getattr(entry, "bibliographic", "") == word for entry in two.values())
                assert found is None or known or word in ("ewe", "ido", "lao", "twi"), word


def test_the_script_of_a_language_is_one_that_unicode_knows() -> None:
    """The authority is CLDR's likely subtags, as far as they are told here, and Unicode's names of scripts."""
    likely = {"ko": "Hangul", "ru": "Cyrillic", "fa": "Arabic", "he": "Hebrew", "ta": "Tamil", "am": "Ethiopic"}
    assert {code: scripts_of_language(code) for code in likely} == likely
    for code in sorted(_CODE_OF):
        scripts = scripts_of_language(code)
        assert scripts is None or len(parse_scripts(scripts) or ()) == len(scripts.split(","))
    assert scripts_of_language("src") is None
