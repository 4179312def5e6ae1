"""A corpus step's decision over all shards, left as a file per shard for the pass that carries it out."""

from typing import Any

import numpy as np

from vocabopt.prepare.step import CorpusStep
from vocabopt.prepare.work import StoredSketches, Work


def decide(step: CorpusStep, work: Work, number: int, n_shards: int) -> dict[str, Any]:
    """Decide from the sketches of pass `number`. Returns the decision's facts."""
    sketches = StoredSketches(work, number, n_shards)
    sources, lines = (
        np.concatenate([np.zeros(0, dtype), *(sketch[name] for sketch in sketches)])
        for name, dtype in (("source", np.int32), ("line", np.int64))
    )
    n_units = [len(sketch["source"]) for sketch in sketches]
    decision = step.decide(sketches, n_units)
    assert len(decision.keep) == sum(n_units), step.name
    begin = 0
    for shard, n in enumerate(n_units):
        own = slice(begin, begin + n)
        arrays: dict[str, Any] = {"keep": decision.keep[own]}
        if decision.of is not None:
            of = decision.of[own]
            copies = of >= 0
            arrays["of_source"] = np.where(copies, sources[of], -1).astype(np.int32)
            arrays["of_line"] = np.where(copies, lines[of], -1)
        if decision.score is not None:
            arrays["score"] = decision.score[own]
        work.save_arrays(number, shard, ".decision.npz", arrays)
        begin += n
    return decision.facts
