"""What keeps other text as it was in a sweep: the scripts that new tokens must show, and the protected texts."""

from collections.abc import Mapping, Sequence

from vocabopt.records import Guard
from vocabopt.text.scripts import MIN_SCRIPT_SHARE, find_target_scripts, scripts_of_counts


def guard_of(
    scripts: Sequence[str] | None,
    char_counts: Mapping[str, int],
    protected_sets: Sequence[str],
    min_script_share: float = MIN_SCRIPT_SHARE,
) -> Guard:
    """The guard of a text.

    Args:
        scripts: those that were asked for; None to find them in the text.
        char_counts: how often each character occurs in the text that is learned from.
        protected_sets: names of the texts that must tokenise as before.
        min_script_share: of the letters, from which on a writing system is found (`find_target_scripts`).
    """
    found = find_target_scripts(char_counts, min_script_share) if scripts is None else scripts
    return Guard(
        scripts=tuple(found),
        scripts_from="text" if scripts is None else "option",
        min_script_share=min_script_share,
        n_letters=dict(scripts_of_counts(char_counts)),
        protected_sets=tuple(protected_sets),
    )
