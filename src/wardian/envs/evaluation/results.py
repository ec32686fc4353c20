"""What the results of items come to. Pure: numbers in, numbers out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

Result = Mapping[str, Any]


def reference_success(reward: float) -> bool:
    """What AgentGym's runner calls success, whatever the environment: a reward of 1 or 100."""
    return reward in (1, 100)


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t (Abramowitz and Stegun 26.7.5; within 0.2 % from 3 degrees of freedom on).

    >>> round(student(9), 2), round(student(1000), 2)
    (2.26, 1.96)
    """
    if freedom < 3:
        return (12.706, 4.303)[freedom - 1]
    z = 1.959964
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / float(freedom) ** power for power, term in enumerate(terms))


def interval(values: Sequence[float]) -> float:
    """Half the width of a 95 % interval of the mean, by Student's t; 0 for fewer than two values."""
    count = len(values)
    return student(count - 1) * stdev(values) / math.sqrt(count) if count > 1 else 0.0


def pass_at(solved: int, tried: int, k: int) -> float:
    """The chance that k of the tries hold a solved one (Chen et al. 2021, the unbiased estimator).

    >>> pass_at(1, 4, 2)
    0.5
    """
    return 1.0 if tried - solved < k else 1.0 - math.comb(tried - solved, k) / math.comb(tried, k)


def summary(results: Iterable[Result], categories: Mapping[str, frozenset[int]], samples: int) -> dict[str, Any]:
    """All numbers of an evaluation: of all items, and of each category."""
    found = list(results)
    return {
        "all": _numbers(found, samples),
        "categories": {
            name: _numbers([one for one in found if one["item"] in inside], samples)
            for name, inside in categories.items()
        },
    }


def _numbers(results: Sequence[Result], samples: int) -> dict[str, Any]:
    """Errors are counted and are no zeros: what was not played has no score."""
    played = [one for one in results if not one.get("error")]
    by_item: dict[int, list[Result]] = {}
    for one in played:
        by_item.setdefault(one["item"], []).append(one)
    scores = [fmean(float(one["reward"]) for one in some) for some in by_item.values()]
    complete = [some for some in by_item.values() if len(some) >= samples]

    def mean(values: Sequence[float]) -> float | None:
        return fmean(values) if values else None

    return {
        "items": len(by_item),
        "samples": len(played),
        "errors": len(results) - len(played),
        "score": mean(scores),
        "score_95": interval(scores),
        "success": mean([fmean(one["success"] for one in some) for some in by_item.values()]),
        "reference_success": mean([fmean(one["reference_success"] for one in some) for some in by_item.values()]),
        "avg_at_k": {str(samples): mean([fmean(one["success"] for one in some) for some in complete])},
        "pass_at_k": {
            str(k): mean([pass_at(sum(one["success"] for one in some), len(some), k) for some in complete])
            for k in range(1, samples + 1)
        },
        "rounds": mean([one["rounds"] for one in played]),
        "invalid_actions": mean([one["invalid"] / one["rounds"] for one in played if one["rounds"]]),
        "truncated": mean([float(one["truncated"]) for one in played]),
        "tokens": [sum(one["tokens"][at] for one in played) for at in (0, 1)],
        "seconds": mean([one["seconds"] for one in played]),
    }
