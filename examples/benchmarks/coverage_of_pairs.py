"""How often 95 % intervals of strengths in preference tests, and of their differences, hold the true ones.

    python examples/benchmarks/coverage_of_pairs.py [--tests 400]

Systems have strengths from -1 to 1, two at a time the same. Raters and prompts have likings of their own, of the standard deviations given,
added to the strengths for each system; every comparison is of two random systems on a random prompt. True strengths are those of
endlessly many raters and prompts. The table in docs/pairs.md is this script's.
"""

import argparse

import numpy as np

from musiceval_sk.ratings.strengths import ClusterCovariance, fit_strengths, influence_of_comparisons

NONE, RATERS, PROMPTS, BOTH, STRONG = (0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5), (1, 0.5)
# Systems, raters, prompts, comparisons a rater; likings of raters and prompts; how ties weigh.
DESIGNS = [
    *((6, 10, 20, 60, likings, 0.0) for likings in (NONE, RATERS, PROMPTS, BOTH, STRONG)),
    (6, 10, 20, 60, NONE, 0.6),
    (6, 10, 20, 60, BOTH, 0.6),
    *((6, 40, 20, 15, likings, 0.0) for likings in (NONE, BOTH)),
    *((12, 20, 60, 40, likings, 0.6) for likings in (NONE, BOTH)),
    (12, 40, 60, 30, BOTH, 0.0),
]


def true_strengths(n, likings, nu):
    """Strengths of systems, and those that endlessly many comparisons would give."""
    given = np.repeat(np.linspace(-1, 1, n // 2), 2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    lead = (given[:, None] - given)[..., None] + nodes * np.hypot(*likings) * np.sqrt(2)
    up, down, others = np.exp(lead / 2), np.exp(-lead / 2), 1 - np.eye(n)
    won, tied = (part / (up + down + nu) @ weights * others for part in (up + nu / 2, nu))
    return given, fit_strengths(won, tied.sum() / 2, davidson=nu > 0).values


def made_test(rng, given, n_raters, n_prompts, per_rater, likings, nu):
    """Numbers of raters, prompts and both systems, and the first one's share."""
    n, size = len(given), n_raters * per_rater
    rater, prompt = np.repeat(np.arange(n_raters), per_rater), rng.integers(n_prompts, size=size)
    first = rng.integers(n, size=size)
    second = (first + rng.integers(1, n, size)) % n
    of_rater, of_prompt = (
        rng.normal(0, sd, (k, n)) for sd, k in zip(likings, (n_raters, n_prompts), strict=True)
    )
    strength = [given[s] + of_rater[rater, s] + of_prompt[prompt, s] for s in (first, second)]
    up, down = np.exp((strength[0] - strength[1]) / 2), np.exp((strength[1] - strength[0]) / 2)
    drawn = rng.random(size) * (up + down + nu)
    return rater, prompt, first, second, np.select([drawn < up, drawn < up + down], [1.0, 0.0], 0.5)


def coverage(design, n_tests, seed=0):
    """Shares of strengths and of differences that were held, and of differences of equals taken for real."""
    n, *sizes, likings, nu = design
    rng = np.random.default_rng([seed, DESIGNS.index(design)])
    given, truth = true_strengths(n, likings, nu)
    tests = [made_test(rng, given, *sizes, likings, nu) for _ in range(n_tests)]
    upper = np.triu(np.ones((n, n), dtype=bool), 1)
    equal = upper & (given[:, None] == given)
    held = []
    for rater, prompt, first, second, share in tests:
        won = np.zeros((n, n))
        np.add.at(won, (first, second), share)
        np.add.at(won, (second, first), 1 - share)
        fit = fit_strengths(won, (share == 0.5).sum(), davidson=nu > 0)
        influence = influence_of_comparisons(first, second, share, fit)
        covariance = ClusterCovariance(influence, [rater, prompt])
        miss = fit.values - truth
        apart = abs(miss[:, None] - miss) <= covariance.half_widths_of_differences(0.95)
        held.append(
            [(abs(miss) <= covariance.half_widths(0.95)).mean(), apart[upper].mean(), 1 - apart[equal].mean()]
        )
    return np.mean(held, axis=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", type=int, default=400)
    n_tests = parser.parse_args().tests
    print(
        "| systems | raters | prompts | comparisons | likings of raters, prompts | ties | strengths | differences | equals told apart |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for design in DESIGNS:
        n, n_raters, n_prompts, per_rater, likings, nu = design
        figures = " | ".join(f"{100 * share:.1f}" for share in coverage(design, n_tests))
        print(
            f"| {n} | {n_raters} | {n_prompts} | {n_raters * per_rater:,} | {likings[0]}, {likings[1]} | {nu or 'none'} | {figures} |",
            flush=True,
        )
