"""Checks on text: what must not change does not, what is decoded is the same, and which new tokens are used."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain

from vocabopt.failures import encoded
from vocabopt.verify.checks_ids import one_of_each
from vocabopt.verify.encoders import Ids
from vocabopt.verify.pair import Pair, View
from vocabopt.verify.pieces import Usage
from vocabopt.verify.report import N_EXAMPLES, Check, Example, Status
from vocabopt.verify.text_files import BUILT_IN, PLAIN
from vocabopt.verify.text_pass import Batch, shown

OTHER_TEXT = "Other text gives the same ids"
ROUND_TRIP = "Text decodes as with the base"


@dataclass
class _Tally:
    n_lines: int = 0
    n_bytes: int = 0
    n_changed: int = 0


@dataclass
class OtherText:
    """Lines without characters of the target must not change; without a target those of --protect must not.

    Without a target and without --protect nothing is known to be other text but the built-in lines, and nothing says
    that they should stay: what changed is told, as a warning. Lines with added tokens that BASE does not have in a
    form are not judged in it, and counted.
    """

    pair: Pair
    judged: dict[str, _Tally] = field(default_factory=dict)
    left: dict[str, _Tally] = field(default_factory=dict)
    changed_in: Counter[str] = field(default_factory=Counter)
    n_target: int = 0
    n_names: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)

    def see(self, batch: Batch) -> None:
        other = [i for i, is_target in enumerate(batch.is_target) if not is_target]
        self.n_target += len(batch) - len(other)
        # Without a guard the text may be what the new tokens are for: only protected text says that it is not.
        is_judged = bool(self.pair.scripts) or not self.pair.new_ids or batch.role == "protect"
        tally = (self.judged if is_judged else self.left).setdefault(batch.name, _Tally())
        changed: set[int] = set()
        for view in self.pair.views:
            here = self._changed(batch, view, other)
            changed.update(here)
            if is_judged:
                self.changed_in[view.name] += len(here)
            self._keep(batch, view, here)
        tally.n_lines += len(other)
        tally.n_bytes += sum(len(batch.documents[i].encode()) for i in other)
        tally.n_changed += len(changed)

    def _changed(self, batch: Batch, view: View, rows: list[int]) -> list[int]:
        before, after = batch.ids(view)
        judged = [i for i in rows if not (batch.has_special[i] and self._is_new_to(view, batch.documents[i]))]
        self.n_names[view.name] += len(rows) - len(judged)
        return [i for i in judged if before[i] != after[i]]

    def _is_new_to(self, view: View, text: str) -> bool:
        """Whether a text with the name of an added token has one that BASE does not have in this form.

        A token that a folder adds beside its tokenizer.model becomes a piece of the merged one.
        """
        if view.kind is None:
            return True
        if view.kind != "tokenizer.model":
            return False
        known = self.pair.base.model_pieces
        return any(name in text for name in self.pair.special_strings if name not in known)

    def _keep(self, batch: Batch, view: View, changed: list[int]) -> None:
        before, after = batch.ids(view)
        kept = self.examples.setdefault(batch.name, [])
        for i in changed[: N_EXAMPLES - len(kept)]:
            base, new = self.pair.show(before[i], after[i])
            what = f"{view.name}, {batch.name}: {shown(batch.documents[i])}"
            kept.append(Example(what=what, base=base, new=new))

    def check(self) -> Check:
        n_lines, n_bytes, n_changed = _sums(self.judged)
        n_left, _, n_left_changed = _sums(self.left)
        counts = {"n_lines": n_lines, "n_bytes": n_bytes, "n_changed": n_changed, "n_with_target": self.n_target}
        for name, tally in (*self.judged.items(), *self.left.items()):
            counts |= {f"n_lines ({name})": tally.n_lines, f"n_changed ({name})": tally.n_changed}
        counts |= {"n_not_judged": n_left, "n_not_judged_changed": n_left_changed}
        counts |= {f"n_changed ({name})": n for name, n in self.changed_in.items()}
        counts |= {f"n_not_judged ({name})": n for name, n in self.n_names.items()}
        notes = []
        if n_lines:
            notes.append(f"{n_changed:,} of {n_lines:,} lines changed ({n_bytes:,} bytes)")
        if n_changed and len(self.changed_in) > 1:
            notes.append(", ".join(f"{n:,} in {name}" for name, n in self.changed_in.items()))
        if self.n_target:
            notes.append(f"{self.n_target:,} lines with {', '.join(self.pair.scripts)} not judged")
        if self.left:
            notes.append(self._left_told(is_protected=bool(n_lines)))
        notes += [f"{n:,} with added tokens not judged in {name}" for name, n in self.n_names.items() if n]
        return Check(
            name=OTHER_TEXT,
            status=self._status(n_lines, n_changed),
            summary="; ".join(notes),
            counts=counts,
            # The user's text says more than the built-in lines, which were read first, the plain ones last.
            examples=one_of_each(reversed(self.examples.values())),
        )

    def _status(self, n_lines: int, n_changed: int) -> Status:
        """Plain English that changes is told also where other text was protected, which then was too little."""
        if n_changed:
            return "fail"
        is_plain_changed = PLAIN in self.left and self.left[PLAIN].n_changed > 0
        if self.left and (is_plain_changed or not (n_lines or self.pair.protected_in_sweep)):
            return "warn"
        return "pass" if n_lines else "not_checked"

    def _left_told(self, *, is_protected: bool) -> str:
        """What changed where nothing says that it should not: plain English and code first."""
        names = sorted(self.left, key=lambda name: (name != PLAIN, name != BUILT_IN))
        told = (f"{self.left[name].n_changed:,} of {self.left[name].n_lines:,} lines of {name}" for name in names)
        changed = f"changed: {', '.join(told)}"
        unknown = "without a target script verify cannot tell which text the new tokens are for"
        if is_protected:
            return f"{unknown}, so these lines are not judged, {changed}"
        if names_of_texts := self.pair.protected_in_sweep:
            options = " ".join(f"--protect {name}=PATH" for name in names_of_texts)
            texts = ", ".join(names_of_texts)
            return f"not judged, {changed}; {unknown}; the sweep protected {texts}: give verify {options} to check it"
        return (
            f"nothing guards other text (no target script, nothing protected), {changed}; {unknown}, so this is no "
            "fault by itself; name text that must not change with --protect"
        )


def _sums(tallies: Mapping[str, _Tally]) -> tuple[int, int, int]:
    """Lines, bytes and changed lines of all of them."""
    values = tallies.values()
    return sum(t.n_lines for t in values), sum(t.n_bytes for t in values), sum(t.n_changed for t in values)


@dataclass
class RoundTrip:
    """What decoding gives back, with special tokens and without.

    The two can differ only for lines that hold a special token, so that others are decoded once. The built-in lines are
    decoded with the special tokens as well that documents begin and end with.
    """

    pair: Pair
    n_lines: int = 0
    n_changed: int = 0
    examples: list[Example] = field(default_factory=list)

    def see(self, batch: Batch) -> None:
        self.n_lines += len(batch)
        every = list(range(len(batch)))
        changed: set[int] = set()
        for view in self.pair.views:
            ids = batch.ids(view)
            changed |= self._changed(batch, view, ids, every, skip_special=True)
            changed |= self._changed(batch, view, ids, [i for i in every if batch.has_special[i]], skip_special=False)
        before, after = self.pair.base.full, self.pair.new.full
        if batch.role == "hard" and before is not None and after is not None:
            view = self.pair.views[0]
            old, new = (
                [encoding.ids for encoding in encoded(tokenizer, batch.documents, source, add_special_tokens=True)]
                for tokenizer, source in ((before, self.pair.base.source), (after, self.pair.new.source))
            )
            plain = batch.ids(view)
            rows = [i for i in every if (old[i], new[i]) != (plain[0][i], plain[1][i])]
            for skip_special in (True, False):
                changed |= self._changed(batch, view, (old, new), rows, skip_special=skip_special)
        self.n_changed += len(changed)

    def _changed(
        self, batch: Batch, view: View, ids: tuple[Ids, Ids], rows: list[int], *, skip_special: bool
    ) -> set[int]:
        if not rows:
            return set()
        before = view.base.decode([ids[0][i] for i in rows], skip_special=skip_special)
        after = view.new.decode([ids[1][i] for i in rows], skip_special=skip_special)
        changed = [(i, a, b) for i, a, b in zip(rows, before, after, strict=True) if a != b]
        for i, old, new in changed[: N_EXAMPLES - len(self.examples)]:
            what = f"{view.name}: {shown(batch.documents[i])}"
            self.examples.append(Example(what=what, base=shown(old), new=shown(new)))
        return {i for i, _, _ in changed}

    def check(self) -> Check:
        return Check(
            name=ROUND_TRIP,
            status="fail" if self.n_changed else "pass",
            summary=f"{self.n_changed:,} of {self.n_lines:,} lines decode to something else than with the base",
            counts={"n_lines": self.n_lines, "n_changed": self.n_changed},
            examples=tuple(self.examples),
        )


@dataclass
class UsageCounter:
    """Which tokens the target text uses: lines of --text with characters of the target, all where nothing guards."""

    pair: Pair
    used: set[int] = field(default_factory=set)
    n_lines: int = 0

    def see(self, batch: Batch) -> None:
        if batch.role != "text":
            return
        rows = next(iter(batch.new.values()))
        if self.pair.scripts:
            rows = [ids for ids, is_target in zip(rows, batch.is_target, strict=True) if is_target]
        self.n_lines += len(rows)
        self.used.update(chain.from_iterable(rows))

    def usage(self) -> Usage:
        return Usage(used=frozenset(self.used), n_lines=self.n_lines)
