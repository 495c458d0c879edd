"""A run's model behind lm-evaluation-harness's `LM` interface; `answers` computes the log-likelihoods."""

from __future__ import annotations

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from mixproof.ledger.errors import RequestError
from mixproof.train.evaluate.answers import AnswerScorer


class HarnessModel(LM):  # type: ignore[misc]  # the harness has no types
    """The log-likelihood half of the harness's model interface; generation is refused."""

    def __init__(self, scorer: AnswerScorer) -> None:
        super().__init__()
        self._scorer = scorer

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Log-likelihood of each answer given its context, and whether greedy decoding would produce it."""
        return self._scorer.score([request.args for request in requests])

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-likelihood of each text, in consecutive windows."""
        return self._scorer.score_whole([request.args[0] for request in requests])

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Refuse: proxies are not scored on generated text.

        Raises:
            RequestError: always.
        """
        raise RequestError(
            f"a task needs generated text ({len(requests)} requests); supported output types: "
            "multiple_choice, loglikelihood, loglikelihood_rolling"
        )
