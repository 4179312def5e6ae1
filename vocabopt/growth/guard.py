"""What guards other text in a sweep, as facts to store, and the sentences made of them where they are shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from vocabopt.text.scripts import MIN_SCRIPT_SHARE, find_target_scripts, scripts_of_counts

#: Scripts with a smaller share of the letters are not named.
_MIN_NAMED_SHARE = 0.001
_MAX_NAMED = 5


def guard_record(
    scripts: Sequence[str] | None,
    char_counts: Mapping[str, int],
    protected_sets: Sequence[str],
    min_script_share: float = MIN_SCRIPT_SHARE,
) -> dict[str, Any]:
    """What guards other text.

    Args:
        scripts: those that were asked for; None to find them in the text.
        char_counts: how often each character occurs in the text that is learned from.
        protected_sets: names of the texts that must tokenise as before.
        min_script_share: of the letters, from which on a writing system is found (`find_target_scripts`).
    """
    found = find_target_scripts(char_counts, min_script_share) if scripts is None else tuple(scripts)
    return {
        "scripts": list(found),
        "scripts_from": "text" if scripts is None else "option",
        "min_script_share": min_script_share,
        "n_letters": scripts_of_counts(char_counts),
        "protected_sets": list(protected_sets),
    }


def is_open(record: Mapping[str, Any]) -> bool:
    """Does nothing at all guard other text?"""
    return not record["scripts"] and not record["protected_sets"]


def guard_sentences(record: Mapping[str, Any]) -> list[str]:
    """What a user must know of the guard before tokens are grown."""
    scripts, protected = record["scripts"], ", ".join(record["protected_sets"])
    n_letters: Mapping[str, int] = record["n_letters"]
    n_all = sum(n_letters.values())
    asked = record["scripts_from"] == "option"
    if not scripts:
        letters = _shares(n_letters, n_all, n_letters) or "none"
        reason = "--script none" if asked else f"letters of the text: {letters}"
        if is_open(record):
            sentence = (
                f"Warning: nothing guards other text: no target script ({reason}) and no --protect. The new tokens can "
                "change how any text is split, English included. Name text that must stay, for example --protect "
                "en=english.txt"
            )
        else:
            sentence = f"No target script ({reason}): only what --protect names keeps its tokens ({protected})"
        others = "" if asked else _to_learn(record, n_all)
        return [sentence + (f"; {others}." if others else ".")]
    taken = _shares(n_letters, n_all, scripts, always=True)
    left = _shares(n_letters, n_all, [script for script in n_letters if script not in scripts])
    sentence = f"Target script{'s' if len(scripts) > 1 else ''}, of the letters in the text: {taken}."
    if left:
        others = _to_learn(record, n_all)
        sentence += f" Not learned: {left}" + (f"; {others}." if others else ".")
    missing = [script for script in scripts if not n_letters.get(script)]
    if missing:
        sentence = f"Warning: the text has no letter of {', '.join(missing)}. {sentence}"
    return [sentence]


def limit_sentence(scripts: Sequence[str], n_open: Mapping[str, tuple[int, int]]) -> str | None:
    """What the guard leaves open of the texts named with --protect; None where it keeps all of them.

    Args:
        n_open: protected set -> occurrences of chunks with characters of the target, which may be split anew, and of
            all chunks.
    """
    told = [f"{n:,} of {n_all:,} chunks of {name}" for name, (n, n_all) in n_open.items() if n]
    if not told:
        return None
    return (
        f"Not protected: {', '.join(told)} hold characters of the target script ({', '.join(scripts)}), and may be "
        "split anew. --script none protects all of it."
    )


def _shares(n_letters: Mapping[str, int], n_all: int, names: Sequence[str] | Mapping[str, int], **kept: bool) -> str:
    """The most frequent of the scripts, with their shares of all letters."""
    shares = {name: n_letters.get(name, 0) / n_all if n_all else 0.0 for name in names}
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    shown = [(name, share) for name, share in ordered if kept or share >= _MIN_NAMED_SHARE]
    return ", ".join(f"{name} {share:.1%}" for name, share in (shown if kept else shown[:_MAX_NAMED]))


def _to_learn(record: Mapping[str, Any], n_all: int) -> str:
    """How to have the most frequent of the other scripts learned too; Latin is none that a guard could tell apart."""
    others = [name for name, n in record["n_letters"].items() if name not in {*record["scripts"], "Latin"} and n > 0]
    if not others or record["n_letters"][others[0]] < 0.01 * n_all:
        return ""
    names = ",".join(sorted({*record["scripts"], others[0]}))
    return f"to learn {others[0]} {'too' if record['scripts'] else 'alone'}: --script {names}"
