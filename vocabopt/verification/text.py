"""The text to check with, read in batches, each document encoded once in every form.

The built-in lines come first: the hard strings, which look for rare faults, and plain English and code, which tell how
much of common text changed where nothing guards it. Then every document of --text and --protect.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import polars as pl

from vocabopt.console import Console
from vocabopt.options import VerifyOptions
from vocabopt.text.corpus import TextSet, n_stored_bytes, named_set
from vocabopt.text.readers import read_blocks
from vocabopt.text.scripts import contains_target
from vocabopt.tokenizer.encoders import Ids, Kind
from vocabopt.tokenizer.hard_strings import hard_strings
from vocabopt.verification.checks import BUILT_IN, PLAIN
from vocabopt.verification.pair import Pair, View

Role = Literal["hard", "text", "protect"]

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Some documents. name: of the text, as it was given. n_stored_bytes: of the file that they come from."""

    role: Role
    name: str
    documents: list[str]
    n_stored_bytes: int = 0


def sets_of(options: VerifyOptions) -> list[TextSet]:
    """What --text and --protect name. Raises CorpusError where a path is missing or holds no text."""
    read = options.read_options()
    texts = [named_set(name, path, "eval", read) for name, path in options.texts.items()]
    return texts + [named_set(name, path, "protected", read) for name, path in options.protects.items()]


def _read(sets: list[TextSet], options: VerifyOptions) -> Iterator[Lines]:
    yield Lines(role="hard", name=BUILT_IN, documents=list(hard_strings()))
    yield Lines(role="hard", name=PLAIN, documents=list(plain_lines()))
    for text_set in sets:
        role: Role = "protect" if text_set.role == "protected" else "text"
        for file in text_set.files:
            for block in read_blocks(file, options.read_options(), block_bytes=_BLOCK_BYTES):
                name, n_bytes = f"--{role} {file.text_set}", block.n_stored_bytes
                yield Lines(role=role, name=name, documents=block.documents.to_list(), n_stored_bytes=n_bytes)


# --- The pass ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Documents with their ids, by form; of BASE only the forms that NEW has too, if there are any.

    name: of the text, as it was given. is_target: has characters of the target script. has_special: holds the string of
    an added token of either, which not every form takes for one.
    """

    role: Role
    name: str
    documents: Sequence[str]
    is_target: Sequence[bool]
    has_special: Sequence[bool]
    base: Mapping[Kind, Ids]
    new: Mapping[Kind, Ids]

    def __len__(self) -> int:
        return len(self.documents)

    def ids(self, view: View) -> tuple[Ids, Ids]:
        """What both give in a view."""
        if view.kind is not None:
            return self.base[view.kind], self.new[view.kind]
        return next(iter(self.base.values())), next(iter(self.new.values()))


class Observer(Protocol):
    """A check that sees all text, batch by batch."""

    def see(self, batch: Batch) -> None: ...


def read_through(
    pair: Pair, sets: list[TextSet], options: VerifyOptions, observers: Iterable[Observer], console: Console
) -> None:
    """Show all text to the observers. Raises CorpusError where a document cannot be read."""
    with console.step("encode", n_stored_bytes(sets) or None, "bytes") as advance:
        n_bytes = 0
        for lines in _read(sets, options):
            batch = batch_of(pair, lines)
            for observer in observers:
                observer.see(batch)
            n_bytes += lines.n_stored_bytes
            advance(n_bytes)


def batch_of(pair: Pair, lines: Lines) -> Batch:
    """Encode some documents in every form."""
    texts = lines.documents
    # Where nothing is new, no text is what new tokens are for.
    scripts = pair.scripts if pair.new_ids else ()
    before, after, names = pair.base.encoders, pair.new.encoders, pair.special_strings
    kinds = [kind for kind in before if kind in after] or list(before)[:1]
    holds = pl.Series(texts, dtype=pl.String).str.contains_any(names).to_list() if names else [False] * len(texts)
    return Batch(
        role=lines.role,
        name=lines.name,
        documents=texts,
        is_target=[bool(scripts) and contains_target(text, scripts) for text in texts],
        has_special=holds,
        base={kind: before[kind].encode(texts) for kind in kinds},
        new={kind: encoder.encode(texts) for kind, encoder in after.items()},
    )


# --- Plain English and code -------------------------------------------------------------------------------------------

_ENGLISH = """
The quick brown fox jumps over the lazy dog.
She had not expected the letter to arrive before the end of the week.
We went to the market in the morning and came back with bread, cheese and a basket of apples.
Nobody knows exactly when the first bridge over this river was built.
If it rains tomorrow, the match will be played on Sunday instead.
The committee published its report in June and asked the public for comments.
He opened the door, looked around the room, and quietly sat down beside the window.
Water boils at a lower temperature at high altitude because the pressure of the air is lower.
The company said that it would hire about two hundred people over the next three years.
"I don't think that's a good idea," said Anna, "but we can try it anyway."
Please read the instructions carefully before you connect the device to the power supply.
A small number of patients reported headaches, which went away after a few hours.
The museum is open every day from nine to five, except on public holidays.
Most of the energy that reaches the surface of the planet is radiated back into space.
They have been living in the same house for more than thirty years.
You can find more information on our website or by calling the number below.
The price of oil fell sharply after the announcement, and shares recovered most of their losses.
In mathematics, a prime number is a natural number greater than one that has no divisors but one and itself.
My grandmother used to tell us stories about the village where she grew up.
The court ruled that the agreement was not valid, since it had never been signed.
Thank you for your help; I really appreciate it.
What time does the last train to the airport leave tonight?
Children under the age of twelve must be accompanied by an adult.
The results suggest that sleep plays an important role in memory.
Although the team lost the first game, it went on to win the championship.
The castle stands on a hill above the town and can be seen from far away.
Stir the mixture until the sugar has dissolved, then add the flour and the eggs.
There is no evidence that the new method is better than the old one.
The government announced a plan to reduce taxes for small businesses.
It was the best of times for some, and the worst of times for many others.
Engineers tested the engine under different conditions for several months.
Every citizen has the right to vote, to speak freely and to leave the country.
The film tells the story of two brothers who meet again after a long war.
Birds that live near the coast often nest on cliffs where few animals can reach them.
I have never seen anything like this in my whole life!
The university offers courses in history, physics, computer science and music.
Their second album sold over a million copies in less than a year.
Could you tell me how to get to the nearest post office?
The doctor recommended regular exercise and a diet with less salt.
As of 2021, the population of the city was 482,310, up 3.7% from ten years before.
The model was trained on a large amount of text from the internet.
Once upon a time there was a king who had three daughters.
Trade between the two countries has doubled since the treaty came into force.
The function returns the number of items in the list.
Heavy snow closed several roads in the north, and hundreds of flights were cancelled.
Light travels faster than sound, so we see the lightning before we hear the thunder.
He wrote his first novel at the age of nineteen, while he was working in a factory.
The best way to learn a language is to speak it every day.
These figures do not include people who work part time.
Keep this medicine out of the reach of children.
"""

_CODE = (
    "def add(a, b):\n    return a + b\n",
    "import numpy as np\n\nx = np.zeros((3, 4), dtype=np.float32)\n",
    "for i in range(len(items)):\n    print(i, items[i])\n",
    "class Node:\n    def __init__(self, value):\n        self.value = value\n        self.next = None\n",
    "if (x > 0 && y < 10) {\n    return x * y;\n} else {\n    throw new Error('out of range');\n}\n",
    'public static void main(String[] args) {\n    System.out.println("Hello, world!");\n}\n',
    '#include <stdio.h>\n\nint main(void) {\n    printf("%d\\n", 42);\n    return 0;\n}\n',
    "SELECT name, COUNT(*) FROM users WHERE active = 1 GROUP BY name ORDER BY 2 DESC LIMIT 10;",
    "const response = await fetch(`/api/users/${id}`, { method: 'POST' });",
    "function sum(values) {\n  return values.reduce((total, value) => total + value, 0);\n}\n",
    '{"id": 17, "name": "example", "tags": ["red", "green"], "price": 12.5, "valid": true}',
    '<ul>\n  <li><a href="index.html">Home</a></li>\n  <li>About</li>\n</ul>\n',
    "body { margin: 0 auto; max-width: 60em; font-family: sans-serif; }",
    'git commit -m "Fix the build" && git push origin main',
    "$ grep -rn 'error' logs/ | sort | uniq -c | head -20",
    "try:\n    data = json.load(file)\nexcept ValueError as error:\n    raise SystemExit(f'bad file: {error}')\n",
    'fn main() {\n    let mut total: u64 = 0;\n    for n in 1..=100 { total += n; }\n    println!("{}", total);\n}\n',
    "# Installation\n\n1. Run `pip install example`.\n2. See [the docs](https://example.com/docs).\n",
    "name: test\non: [push]\njobs:\n  build:\n    runs-on: ubuntu-latest\n",
    "2024-01-15 10:32:07,184 INFO  server started on port 8080",
)


def plain_lines() -> tuple[str, ...]:
    """50 sentences of English and 20 pieces of code."""
    return (*_ENGLISH.strip().splitlines(), *_CODE)
