"""Second opinions: the laws against their authors' figures, VOLT's utility by hand."""

import math

import numpy as np
import pytest

from vocabopt.choice import rules


@pytest.mark.parametrize(
    ("n_nv", "width", "first", "second"), [(7e9, 4_096, 62_000, 67_000), (10.5e9, 5_120, 70_000, 76_000)]
)
def test_vocabularies_of_the_paper_s_table(n_nv: float, width: int, first: int, second: int) -> None:
    assert rules.law_1(n_nv) / width == pytest.approx(first, rel=0.01)
    assert rules.law_2(n_nv) / width == pytest.approx(second, rel=0.01)


@pytest.mark.parametrize(("n_nv", "flops"), [(33e6, None), (7e9, None), (302e6, 1e19), (302e6, 1e21)])
def test_the_third_approach_is_at_the_minimum_of_the_fitted_loss(n_nv: float, flops: float | None) -> None:
    """The loss itself (section 4.3), by a fine search: parameters in millions, tokens in thousand millions."""
    budget = rules.compute_optimal_flops(n_nv) if flops is None else flops

    def loss(n_v: float) -> float:
        n_tokens = budget / (6 * (n_nv + n_v)) / 1e9
        return (
            0.19584238398665638 / (n_v / 1e6) ** 0.6707374679896795 + 2.1241123120064955 / n_tokens**0.44660634152009615
        )

    found = rules.law_3(n_nv, flops)
    around = found * np.geomspace(0.5, 2, 4_001)
    best = around[int(np.argmin([loss(n_v) for n_v in around]))]
    assert found == pytest.approx(best, rel=1e-3)


def test_more_training_deserves_a_larger_vocabulary() -> None:
    optimal = rules.compute_optimal_flops(302e6)
    assert rules.law_3(302e6, optimal / 5) < rules.law_3(302e6) < rules.law_3(302e6, 5 * optimal)


def test_volt_s_utility_by_hand() -> None:
    """Text "abab": as a, b, a, b 1 bit a token, 1 bit a character; as ab, ab 0 bits. One token added: utility 1."""
    utility = rules.marginal_utility(np.array([1.0, 0.0]), np.array([4, 2]), 4, 1)
    assert utility.tolist() == [1.0]
    # "abac": a 2/4, b 1/4, c 1/4 is 1.5 bits; as ab, a, c log2 3 bits over 3 tokens.
    utility = rules.marginal_utility(np.array([1.5, math.log2(3)]), np.array([4, 3]), 4, 1)
    assert utility[0] == pytest.approx(1.5 - 3 * math.log2(3) / 4)
    assert len(rules.marginal_utility(np.array([1.5]), np.array([4]), 4, 1)) == 0


# --- Rules, on curves small enough to do by hand ---------------------------------------------------------------------


def test_rules_by_hand() -> None:
    assert rules.cheapest(np.array([10.0, 7.0, 6.0, 8.0])) == (2, "at")
    assert rules.cheapest(np.array([10.0, 7.0, 6.0, 5.9])) == (3, "at_least")
    assert rules.cheapest(np.array([10.0, 7.0, 6.0, 6.005])) == (3, "at_least")  # 0.08 % is no rise
    assert rules.cheapest(np.array([10.0, 7.0, 6.0, 6.007])) == (2, "at")
    assert rules.cheapest(np.array([10.0])) == (0, "at")
    occurrences = np.array([900, 500, 200, 100])
    assert rules.exposed(occurrences, 2.0, 400) == (3, "at")
    assert rules.exposed(occurrences, 4.0, 400) == (4, "at_least")
    assert rules.exposed(occurrences, 0.1, 400) == (0, "at")
    assert rules.used(np.array([0, 1, 2, 2, 3, 4]), 0.8) == (5, "at_least")
    assert rules.used(np.array([0, 1, 2, 2, 2, 2]), 0.8) == (2, "at")
    assert rules.used(np.array([0]), 0.8) == (0, "at")
    assert rules.marginal(np.array([100, 80, 70, 65, 63, 62]), 2, 0.1) == (2, "at")  # 70 -> 63 saves 7
    assert rules.marginal(np.array([100, 80, 60, 40]), 2, 0.1) == (3, "at_least")
    assert rules.marginal(np.array([100, 99]), 2, 0.1) == (1, "at_least")
    assert rules.fitting(np.array([5, 6, 7, 8]), 7) == (2, "at")
    assert rules.fitting(np.array([5, 6, 7, 8]), 9) == (3, "at_least")
    assert rules.fitting(np.array([5, 6, 7, 8]), 4) == (0, "at")
