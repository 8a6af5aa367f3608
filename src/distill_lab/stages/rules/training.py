"""Of a student that could learn more as it is: longer, on more, with other weights."""

from __future__ import annotations

from distill_lab.contracts import Parts
from distill_lab.stages.report_handoff import Proposal
from distill_lab.stages.rules.evidence import Evidence

UNFINISHED = 0.9  # share of the epochs; a best epoch after it was still getting better
UNDER_FIT = 0.9  # agreement with the teacher on what it was taught; below it, that is not learnt
LEARNT = 0.99  # the same, above which these samples have nothing more to teach
CARRIES_OVER = 0.99  # share of the teacher's quality on validation; above it, enough was learnt
MIXUP = 1.0  # alpha: shares from 0 to 1 alike, the "aggressive" mixup of Beyer et al. 2022
HIDDEN_WORDS, NGRAMS = 0.1, 0.25  # of texts; Tang et al. 2019, arXiv:1903.12136
LARGEST_SHIFT = 8  # a shift is this part of the side: 4 of 32 pixels, the usual CIFAR recipe


def longer(evidence: Evidence) -> Proposal | None:
    """More epochs, where the best was among the last or the teacher is not followed yet."""
    student, regime = evidence.student, evidence.parts.regime
    agreement, ranks = evidence.on_train.agreement, evidence.parts.data.info.ranks_items
    if regime.keep == "best" and student.kept_epoch >= UNFINISHED * regime.epochs:
        why = f"the best epoch was {student.kept_epoch} of {regime.epochs}: "
        why += "it was still getting better."
    elif agreement < UNDER_FIT and not ranks:  # of a thousand items two lists seldom have one top
        why = f"under-fit: the student agrees with its teacher on {agreement:.1%} of what it was "
        why += "taught; give it more time."
    else:
        return None
    return Proposal([f"regime.epochs={2 * regime.epochs}"], why)


def patient(evidence: Evidence) -> Proposal | None:
    """More views of the samples, and the time that these take; the teacher labels what is mixed.

    Source: Beyer et al. 2022, arXiv:2106.05237, "patient and consistent" teaching.
    """
    agreement, epochs = evidence.on_train.agreement, evidence.parts.regime.epochs
    views, ranks = _more_views(evidence.parts), evidence.parts.data.info.ranks_items
    under_fit = agreement < UNDER_FIT and not ranks
    by_heart = agreement >= LEARNT and evidence.kept < CARRIES_OVER
    if not views or not (under_fit or by_heart):
        return None
    todo = "it has to match its teacher on many views, and that takes long."
    if by_heart:
        todo = "show it more than these samples, and for longer."
    return Proposal(
        [*views, f"regime.epochs={2 * epochs}"],
        f"the student agrees with its teacher on {agreement:.1%} of what it was taught and keeps "
        f"{evidence.kept:.1%} of its validation {evidence.student.scores.compared_by.label}: "
        f"{todo}",
    )


def weights(evidence: Evidence) -> Proposal | None:
    """Other weights of the loss terms, where one drowned another at the start."""
    changed = [t for t in evidence.loss.terms if abs(t.suggested_weight - t.weight) > 1e-9]
    if not changed:
        return None
    return Proposal(
        [f"loss.{term.name}.weight={term.suggested_weight:.3g}" for term in changed],
        "one term's gradient drowned another's at the start; these weights make them equally long.",
    )


def _more_views(parts: Parts) -> list[str]:
    """Return the next kind of augmentation that these data allow and the run has not."""
    info, regime = parts.data.info, parts.regime
    if info.vocabulary_size is not None:
        may = info.hidden_id is not None and regime.mask_words == regime.ngram_rows == 0
        return [f"regime.mask_words={HIDDEN_WORDS}", f"regime.ngram_rows={NGRAMS}"] if may else []
    if regime.mixup_alpha == regime.cutmix_alpha == 0:
        return [f"regime.mixup_alpha={MIXUP}"]
    is_square = len(info.input_shape) == 3 and info.input_shape[1] == info.input_shape[2]
    if is_square and regime.shift_pixels == 0:  # a spectrogram is not square, and not to be shifted
        return [f"regime.shift_pixels={max(1, info.input_shape[1] // LARGEST_SHIFT)}"]
    return []
