"""What each check found, in a sentence."""

import functools
from collections.abc import Mapping

from vocabopt.tokenizer.encoders import Kind
from vocabopt.verification.checks import BUILT_IN, N_RELOADED_BYTES, PLAIN, STATED, Check, NotChecked
from vocabopt.verification.checks_settings import Settings
from vocabopt.verification.checks_templates import Templates
from vocabopt.verification.checks_text import FormsAgree, OtherText, RoundTrip, total_of
from vocabopt.verification.checks_transformers import Loaded, Reload
from vocabopt.verification.checks_vocabulary import BaseIds, LlamaCpp, Pieces, Reachability, SpecialTokens, Spelling


@functools.singledispatch
def summary(check: Check) -> str:
    """What a check found, in a sentence."""
    raise AssertionError(type(check))


@summary.register
def _(check: NotChecked) -> str:
    return check.reason


@summary.register
def _(check: BaseIds) -> str:
    wrong = f": {check.n_changed:,} changed, {check.n_out_of_order:,} out of order or missing"
    text = f"{check.n_base:,} ids of the base, {check.n_new:,} new ones"
    return text + (wrong if check.n_changed or check.n_out_of_order else "")


@summary.register
def _(check: SpecialTokens) -> str:
    text = f"special and added tokens: {check.n_base:,}"
    text += f", in the new one {check.n_new:,} more" if check.n_new else ""
    text += f"; {check.n_changed:,} changed" if check.n_changed else ""
    n = check.n_matched_otherwise
    return text + (f"; {n:,} are matched by other rules, as another form of file has them" if n else "")


@summary.register
def _(check: Settings) -> str:
    notes = [f"{n:,} {kind}" for kind, n in check.wrong.items()]
    notes += [
        f"{n:,} {kind}, perhaps only written in another way: the checks on text judge"
        for kind, n in check.doubtful.items()
    ]
    return "; ".join(notes) or ", ".join(check.forms)


@summary.register
def _(check: Pieces) -> str:
    return _by_form({kind: (n.n_broken, n.n_judged) for kind, n in check.forms.items()}, "base pieces broken")


def _by_form(forms: Mapping[Kind, tuple[int, int]], what: str) -> str:
    """How many of the pieces judged, forms with the same numbers together."""
    said: dict[str, list[str]] = {}
    for kind, (n_bad, n_judged) in forms.items():
        said.setdefault(f"{n_bad:,} of {n_judged:,} {what}", []).append(kind)
    return "; ".join(f"{text} ({', '.join(kinds)})" for text, kinds in said.items())


@summary.register
def _(check: Reachability) -> str:
    notes = [_by_form({kind: (n.n_lost, n.n_judged) for kind, n in check.forms.items()}, "new tokens unreachable")]
    if n_whole := check.n_whole_pretokens_only:
        notes.append(f"{n_whole:,} come only as a whole pre-token (ignore_merges), not from their merges")
    if check.n_target_lines is not None:
        # Without a guard all text is target text.
        text = "target text" if check.has_target else "the --text given"
        used = f"{check.n_unused:,} not used on {check.n_target_lines:,} lines of {text}"
        notes.append(f"{used}, {check.n_scaffold:,} of them scaffold (steps to other new tokens)")
    elif check.n_new:
        notes.append("scaffold: not checked (give target text with --text)")
    return "; ".join(notes)


@summary.register
def _(check: Templates) -> str:
    text = f"{len(check.names):,} templates, {check.n_rendered:,} renderings"
    text += f": {check.n_different:,} differ" if check.n_different else ""
    return text + (f"; {check.lone} is a lone file, which has none to compare with" if check.lone else "")


@summary.register
def _(check: OtherText) -> str:
    judged = total_of(check.judged)
    notes = []
    if judged.n_lines:
        notes.append(f"{judged.n_changed:,} of {judged.n_lines:,} lines changed ({judged.n_bytes:,} bytes)")
    if judged.n_changed and len(check.changed_in) > 1:
        notes.append(", ".join(f"{n:,} in {name}" for name, n in check.changed_in.items()))
    if check.n_with_target:
        notes.append(f"{check.n_with_target:,} lines with {', '.join(check.scripts)} not judged")
    if check.left:
        notes.append(_not_judged(check, is_protected=bool(judged.n_lines)))
    notes += [f"{n:,} with added tokens not judged in {name}" for name, n in check.n_names.items() if n]
    return "; ".join(notes)


def _not_judged(check: OtherText, *, is_protected: bool) -> str:
    """What changed where nothing says that it should not: plain English and code first."""
    names = sorted(check.left, key=lambda name: (name != PLAIN, name != BUILT_IN))
    text = (f"{check.left[name].n_changed:,} of {check.left[name].n_lines:,} lines of {name}" for name in names)
    changed = f"changed: {', '.join(text)}"
    unknown = "without a target script verify cannot tell which text the new tokens are for"
    if is_protected:
        return f"{unknown}, so these lines are not judged, {changed}"
    if check.protected_in_sweep:
        options = " ".join(f"--protect {name}=PATH" for name in check.protected_in_sweep)
        texts = ", ".join(check.protected_in_sweep)
        return f"not judged, {changed}; {unknown}; the sweep protected {texts}: give verify {options} to check it"
    return (
        f"nothing guards other text (no target script, nothing protected), {changed}; {unknown}, so this is no "
        "fault by itself; name text that must not change with --protect"
    )


@summary.register
def _(check: RoundTrip) -> str:
    return f"{check.n_changed:,} of {check.n_lines:,} lines decode to something else than with the base"


@summary.register
def _(check: Reload) -> str:
    if check.error is not None:
        return f"cannot be loaded ({check.error})"
    text = f"{check.n_different:,} of {check.n_lines:,} lines differ from tokenizer.json"
    text += f"; {check.n_base_as_well:,} on which the base's folder differs as well" if check.n_base_as_well else ""
    limit = f"behind the first {N_RELOADED_BYTES:,} bytes of --text or --protect"
    return text + (f" ({check.n_not_compared:,} lines {limit} not compared)" if check.n_not_compared else "")


@summary.register
def _(check: Loaded) -> str:
    notes = [f"{n:,} {kind} differ" for kind, n in check.wrong.items()]
    if departing := [f"{n:,} {kind}" for kind, n in check.doubtful.items() if kind != STATED]:
        notes.append(
            f"{', '.join(departing)}: transformers loads the base's folder otherwise than the base's own files say, "
            "and the new folder follows the files, as it should"
        )
    if n := check.doubtful.get(STATED):
        notes.append(f"{n:,} {STATED} as the base's class has them in other versions of transformers")
    prompts = f"{check.n_prompts:,} chat prompts"
    return "; ".join(notes or [f"settings, special tokens and {prompts} as {check.class_name} has them"])


@summary.register
def _(check: FormsAgree) -> str:
    text = [f"{kind} not checked: pip install {package}" for kind, package in check.missing.items()]
    if check.n_of_loading:
        text.append(f"{check.base_name} as it was loaded is not its tokenizer.model on {check.n_of_loading:,} lines")
    for kind, tally in check.tallies.items():
        note = f"{kind}: {tally.n_wrong:,} of {tally.n_lines:,} lines differ from {check.first}"
        note += f" ({tally.n_by_new_token:,} by a new token)" if tally.n_by_new_token else ""
        as_well = f", {tally.n_base_as_well:,} more where the base's two files differ as well, none by a new token"
        note += as_well if tally.n_base_as_well else ""
        left = f", {tally.n_not_compared:,} not compared, with added tokens that {kind} does not have"
        text.append(note + (left if tally.n_not_compared else ""))
    return "; ".join(text)


@summary.register
def _(check: Spelling) -> str:
    return f"{check.n_twice:,} of {check.n_new:,} new tokens" if check.n_twice else f"{check.n_new:,} new tokens"


@summary.register
def _(check: LlamaCpp) -> str:
    text = f"hash {check.after[:16]}..."
    if not check.n_changed:
        return f"{text} as before{'' if check.is_used else '; not used for SentencePiece tokenizers'}"
    if not check.is_used:
        return f"{text} differs, and is not used for SentencePiece tokenizers"
    text += f", before {check.before[:16]}...: "
    if not check.has_target:
        return f"{text}the converter would not know it, or take it for another"
    return (
        f"{text}its fixed text holds what the new tokens are for. Add the new hash to get_vocab_base_pre in "
        "convert_hf_to_gguf.py, with the name the base has there (its tokenizer.ggml.pre)"
    )
