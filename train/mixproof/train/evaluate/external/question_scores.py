"""The scores of one question, from the log-likelihoods of its answers.

  bits per byte   -log2 p of the gold answer / its UTF-8 bytes, summed over questions before the division
  accuracy        normalized: whether a gold answer has the highest log-likelihood per byte
  soft accuracy   the gold answers' share of the probability of all answers (`norm correct prob` of DataDecide,
                  Magnusson et al. 2025)

A question with a single answer has no others to choose from: its accuracy is whether greedy decoding would produce the
answer, its soft accuracy the answer's probability. If several answers are gold, bits per byte count the likeliest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class QuestionScore:
    """The score of one question; its fields are the columns of a result's Parquet file."""

    task: str
    question: int
    """Index in the task's documents."""
    gold_nats: float
    """-ln p of the gold answer."""
    gold_bytes: int
    correct: bool | None
    """None for a text that is scored as a whole, which has no accuracy."""
    gold_share: float | None
    """Soft accuracy; None as above."""


@dataclass(frozen=True)
class TaskScores:
    """A model's scores on one task."""

    name: str
    metrics: dict[str, float]
    """From lm-evaluation-harness: `acc`, `acc_norm` and the task's other metrics."""
    answers: tuple[QuestionScore, ...]

    @property
    def bits_per_byte(self) -> float:
        """Of the gold answers."""
        nats = math.fsum(answer.gold_nats for answer in self.answers)
        return nats / math.log(2) / sum(answer.gold_bytes for answer in self.answers)

    def to_json(self) -> dict[str, float]:
        """The form that is stored and that `--json` prints."""
        correct = [answer.correct for answer in self.answers if answer.correct is not None]
        shares = [answer.gold_share for answer in self.answers if answer.gold_share is not None]
        return {
            **self.metrics,
            "bits_per_byte": self.bits_per_byte,
            "questions": len(self.answers),
            **({"accuracy": math.fsum(correct) / len(correct)} if correct else {}),
            **({"soft_accuracy": math.fsum(shares) / len(shares)} if shares else {}),
        }


def score_choices(
    task: str, question: int, nats: Sequence[float], texts: Sequence[str], gold: Sequence[int]
) -> QuestionScore:
    """Score a question with several answers.

    Args:
        task: its task.
        question: its index.
        nats: -ln p of each answer.
        texts: the answers as they were scored, with the white space before them.
        gold: indices of the gold answers.
    """
    sizes = [max(len(text.encode()), 1) for text in texts]
    best = min(range(len(nats)), key=lambda index: nats[index] / sizes[index])
    likeliest = min(gold, key=lambda index: nats[index])
    lowest = min(nats)
    weights = [math.exp(lowest - value) for value in nats]
    share = math.fsum(weights[index] for index in dict.fromkeys(gold)) / math.fsum(weights)
    return QuestionScore(task, question, nats[likeliest], sizes[likeliest], best in gold, share)


def score_answer(task: str, question: int, nats: float, text: str, greedy: bool) -> QuestionScore:
    """Score a question with a single answer; `greedy`: whether greedy decoding would produce it."""
    return QuestionScore(task, question, nats, len(text.encode()), greedy, math.exp(-nats))
