"""The check that chat templates render as before."""

from vocabopt.tokenizer.chat_templates import cases, in_words, names_of, render, templates
from vocabopt.verification.checks import Findings, not_checked
from vocabopt.verification.pair import Pair
from vocabopt.verification.record import Check

TEMPLATES = "Chat templates render the same"


def chat_templates(pair: Pair) -> Check:
    """Every chat template of either, by name, rendered for a few conversations."""
    before, after = templates(pair.base), templates(pair.new)
    names, new_names = names_of(pair.base), names_of(pair.new)
    if not before and not after:
        return not_checked(TEMPLATES, "neither has a chat template")
    found, n_rendered = Findings(), 0
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            lacks = pair.new if name in before else pair.base
            has, lacking = "has this template", "has no such template"
            row = (name, has, lacking) if name in before else (name, lacking, has)
            # A lone file cannot say what template belongs to it.
            found.add("missing", [row], certain=lacks.folder is not None)
            continue
        for case in cases():
            n_rendered += 1
            old = render(before[name], names, case)
            new = render(after[name], new_names, case)
            if old != new:
                found.add("differ", [(f"{name}: {in_words(case)}", repr(old), repr(new))])
    summary = f"{len(before.keys() | after.keys()):,} templates, {n_rendered:,} renderings"
    summary += f": {found.n_wrong:,} differ" if found.wrong else ""
    if found.doubtful:
        lone = "BASE" if pair.base.folder is None else "NEW"
        summary += f"; {lone} is a lone file, which has none to compare with"
    counts = {"n_base": len(before), "n_new": len(after), "n_rendered": n_rendered, "n_different": found.n_wrong}
    return found.check(TEMPLATES, summary, counts)
