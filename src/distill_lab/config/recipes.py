"""Where a run is far from the recipe its methods were published with; advice, not an error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from distill_lab.config.groups import ready

FAR = 10.0  # a weight this many times the published one, or less than its inverse
FAR_OF = {"weight": FAR, "temperature": 5.0, "temperatures": 5.0}
"""The same for arguments of a term, by the last word of their name."""
EPOCHS = 240  # of the training that published schedules are of; RepDistiller and mdistiller


@dataclass(frozen=True)
class Recipe:
    """What a method's yaml cannot say, as its sources give it; see docs/losses.md.

    Attributes:
        temperatures: lowest and highest that were published.
        schedule: of its weight, kind and epochs; None: constant.
        ce: weight of the cross-entropy beside it. 0: it is in the term, or the term does without.
    """

    temperatures: tuple[float, float] | None = None
    schedule: tuple[str, float] | None = None
    ce: float = 1.0


SOFT_TARGETS = Recipe((1, 20), ce=0.1)  # Hinton et al. 2015: 1 to 20; RepDistiller: 0.1 ce
SEVERAL = Recipe((4, 4))  # CA-MKD's code
ALONE = Recipe(ce=0)

RECIPES = {
    **dict.fromkeys(("kd", "soft_cross_entropy", "sample_weighted_kd"), SOFT_TARGETS),
    **dict.fromkeys(("average_logits", "average_probabilities"), SOFT_TARGETS),
    **dict.fromkeys(("aekd", "ebkd", "ca_mkd"), SEVERAL),
    **dict.fromkeys(("ps_kd", "annealing_kd", "label_smoothing", "simkd"), ALONE),
    "dkd": Recipe((1, 4), ("warmup", 20)),  # mdistiller: 4, on ImageNet 1
    "dist": Recipe((1, 4)),  # authors' code: 1; CIFAR-100 4
    "dist_plus": Recipe((1, 1)),  # torchdistill
    "logit_standardization": Recipe((2, 4), ce=0.1),  # authors' configs
    "mlkd": Recipe(ce=0.1),
    "wsld": Recipe((2, 4)),  # ImageNet 2, CIFAR-100 4
    "sdd": Recipe((4, 4), ce=0.1),  # its code has a warm-up, switched off
    "skd": Recipe((4, 4), ce=0.5),  # torchdistill
    "sskd": Recipe((4, 4), ce=0.1),  # torchdistill
    "deit_soft": Recipe((3, 3), ce=0.9),
    "deit_hard": Recipe(ce=0.5),
    "hard_label": Recipe(ce=0.5),
    "asymmetric_temperature": Recipe(ce=0.5),
    "knowledge_adjustment": Recipe(ce=0.15),
    "ctkd": Recipe(ce=0.1),
    "tf_kd": Recipe(ce=0.9),
    "ab": Recipe(schedule=("stop", 30)),  # RepDistiller: the first 30 epochs
    "fsp": Recipe(schedule=("stop", 30)),  # RepDistiller: the first 30 epochs
}
"""Term -> what was published, where it is more than a weight beside cross-entropy at 1."""


def far_from_recipes(config: dict[str, Any]) -> list[str]:
    """Return one sentence for each choice that no publication of the method made.

    Args:
        config: in which no problem was found.
    """
    found: list[str] = []
    terms = config["loss"]
    for name, node in terms.items():
        method = node["_target_"].split(".")[-2]
        if method == "ce":
            continue
        recipe = RECIPES.get(method, Recipe())
        found += _of_arguments(name, node)
        found += _of_temperature(name, recipe, config["temperature"])
        found += _of_schedule(name, recipe, config)
        if "ce" in terms:
            found += _of_cross_entropy(name, recipe, terms["ce"]["weight"])
    return found


def _of_arguments(name: str, node: dict[str, Any]) -> Iterator[str]:
    """Hold weights and temperatures, those inside the term too, against the yaml's."""
    published = ready(node["_target_"])
    for key, given in node.items():
        most = FAR_OF.get(key.rpartition("_")[2])
        if most is None or key not in published:
            continue
        known = _listed(published[key])
        low, high = min(known), max(known)
        far = [v for v in _listed(given) if v > 0 and not low / most <= v <= high * most]
        if far and high > 0:
            yield f"loss.{name}.{key}: {far[0]:g} is far from the published {_range(low, high)}."


def _of_temperature(name: str, recipe: Recipe, node: dict[str, Any]) -> Iterator[str]:
    used = [value for key, value in node.items() if key in ("value", "start", "end")]
    if recipe.temperatures is None:
        return
    low, high = recipe.temperatures
    outside = [value for value in used if not low <= value <= high]
    if outside:
        published = _range(low, high)
        yield f"temperature: {outside[0]:g} is not the {published} that {name} was published with."


def _of_schedule(name: str, recipe: Recipe, config: dict[str, Any]) -> Iterator[str]:
    given = config["weighting"]["schedules"].get(name)
    if recipe.schedule is None:
        if given is not None:
            yield f"weighting.schedules.{name}: {name} was published with a constant weight."
        return
    kind, epochs = recipe.schedule
    advice = f"weighting.schedules={{{name}: {{{kind}: {epochs:g}}}}} of {EPOCHS} epochs"
    if given is None:
        yield f"loss.{name}: was published with {advice}; its weight is constant here."
        return
    mine = given.get(kind)
    share = EPOCHS / config["regime"]["epochs"]
    if mine is None or all(_is_far(scale * mine / epochs) for scale in (1, share)):
        yield f"weighting.schedules.{name}: {name} was published with {advice}."


def _of_cross_entropy(name: str, recipe: Recipe, weight: float) -> Iterator[str]:
    if recipe.ce == 0 and weight > 0:
        yield f"loss.{name}: was published without cross-entropy beside it; leave out ce."
    elif recipe.ce > 0 and weight > 0 and _is_far(weight / recipe.ce):
        yield f"loss.ce.weight: {weight:g} is far from the {recipe.ce:g} that {name} has beside it."


def _is_far(ratio: float) -> bool:
    return not 1 / FAR <= ratio <= FAR


def _listed(value: Any) -> list[float]:
    return value if isinstance(value, list) else [value]


def _range(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
