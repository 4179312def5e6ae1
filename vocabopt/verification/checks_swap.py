"""Rows swapped at constant size: what every kept text pays, on whole documents, is what was promised."""

from collections import Counter
from dataclasses import dataclass, field

from vocabopt.verification.checks import Findings, not_checked
from vocabopt.verification.pair import Pair, shown
from vocabopt.verification.record import Check, Status
from vocabopt.verification.text import Batch

KEPT_TEXT = "Kept text takes as many tokens as promised"


@dataclass
class KeptTextPass:
    """Tokens of every --text that rows were kept for, with both tokenizers, beside what extension.json says.

    tallies: text -> documents, changed ones, tokens with BASE and with NEW.
    """

    pair: Pair
    tallies: dict[str, Counter[str]] = field(default_factory=dict)
    found: Findings = field(default_factory=Findings)

    @property
    def promised(self) -> dict[str, tuple[int, int]]:
        """Name of a text -> its tokens with BASE and with NEW, as the sweep counted them."""
        extension = self.pair.extension
        kept = {} if extension is None else extension.kept
        return {name: (text.n_tokens_base, text.n_tokens) for name, text in kept.items()}

    def see(self, batch: Batch) -> None:
        name = batch.name.partition(" ")[2]
        if batch.role == "text" and name in self.promised:
            before, after = batch.ids(self.pair.views[0])
            self.tallies.setdefault(name, Counter()).update(
                n_documents=len(batch),
                n_changed=sum(one != other for one, other in zip(before, after, strict=True)),
                n_tokens_base=sum(map(len, before)),
                n_tokens=sum(map(len, after)),
            )

    def check(self) -> Check:
        notes: list[str] = []
        counts: dict[str, int] = {}
        for name, tally in self.tallies.items():
            before, after = self.promised[name]
            for what, found, expected in (("base", tally["n_tokens_base"], before), ("new", tally["n_tokens"], after)):
                if found != expected:
                    self.found.add(
                        "tokens", [(f"{shown(name)}, {what} tokenizer", f"promised {expected:,}", f"{found:,} tokens")]
                    )
            change = tally["n_tokens"] - tally["n_tokens_base"]
            ratio = f" ({change / tally['n_tokens_base']:+.3%})" if tally["n_tokens_base"] else ""
            n, n_changed = tally["n_documents"], tally["n_changed"]
            notes.append(f"{name}: {change:+,} tokens{ratio}, {n_changed:,} of {n:,} documents changed")
            counts |= {f"{what} ({name})": n for what, n in tally.items()}
        left = [name for name in self.promised if name not in self.tallies]
        options = " ".join(f"--text {name}=PATH" for name in left)
        if left and not notes:
            return not_checked(KEPT_TEXT, f"give verify the texts that rows were kept for: {options}")
        if left:
            notes.append(f"not given: {options}")
        status: Status | None = "warn" if left and not self.found.wrong else None
        return self.found.check(KEPT_TEXT, "; ".join(notes), counts, status=status)
