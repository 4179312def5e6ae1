"""From the rules' answers to one size: which rule decides, what holds it back, how it is rounded."""

from dataclasses import dataclass, replace

from vocabopt.choice.answers import Question
from vocabopt.choice.rules import Answer

#: What decides where every rule names only a size that it is at least.
END = "end"


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A size.

    rule: what named it; "padding" where rows of the table are free, END where no
    rule bounds a size on this curve, so that its end decides, "none" where no rule has an answer. named: what that rule
    named. limit: the largest size that curve, training plan and memory allow. clipped_by: the kind of rule whose limit
    lies below `named`, None where none does.
    """

    n_added: int
    rule: str
    named: int
    limit: int
    clipped_by: str | None = None

    @property
    def before_rounding(self) -> int:
        return min(self.named, self.limit)


def decide(question: Question, knee: int | None, given: list[Answer]) -> Decided:
    """The knee; else padding rows that are free; else the smallest of the rules without a window that has an answer."""
    window, table, ratio = question.window, question.table, question.ratio_input
    if knee is not None:
        rule, named = "knee", knee
    elif len(ratio) and ratio[window[1]] < ratio[window[0]] and table.n_rows(window[1]) == table.base_n_rows:
        # Where padding rows take all of the window, tokens cost nothing and there is no knee: take them.
        rule, named = "padding", window[1]
    else:
        # A rule that the curve does not bound names its end, so it decides only where no other does.
        able = [a for a in given if a.kind in ("flops", "used", "marginal") and a.n_added is not None]
        sizes = [(a.n_added or 0, a.name, a.bound == "at") for a in able]
        named, rule, is_bounded = min(sizes, default=(0, "none", True))
        rule = rule if is_bounded else END
    limit, clipped_by = _limit(question, given)
    decided = Decided(
        n_added=0,
        rule=rule,
        named=named,
        limit=limit,
        clipped_by=clipped_by if limit < named else None,
    )
    return replace(decided, n_added=rounded(decided, question))


def _limit(question: Question, given: list[Answer]) -> tuple[int, str | None]:
    """What exposure, where a plan was stated, and memory, where a budget was, allow of the curve."""
    clips = ("memory-train", "memory-serve", f"exposure-{question.options.min_exposure}")
    limits = [(a.n_added, a.kind) for a in given if a.name in clips and a.n_added is not None]
    return min([*limits, (question.curve.end, None)], key=lambda limit: limit[0])


def rounded(decided: Decided, question: Question) -> int:
    """The size nearest to it, at least 1 and within the limit, whose total rows are a multiple of row_multiple."""
    table, multiple, size = question.table, question.options.row_multiple, decided.before_rounding
    if size == 0 or table.n_rows(size) == table.base_n_rows:
        return size
    below = (table.base_n_tokens + size) // multiple * multiple - table.base_n_tokens
    within = [candidate for candidate in (below, below + multiple) if 1 <= candidate <= decided.limit]
    return min(within, key=lambda candidate: abs(candidate - size)) if within else size
