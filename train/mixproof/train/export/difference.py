"""How far a model that another library loads may be from Megatron's, and the error when it is further."""

from __future__ import annotations

from mixproof.ledger.errors import AccountError

LARGEST_DIFFERENCE = 1e-5
"""Between an output of transformers and Megatron's, in float32."""


def check_difference(outputs: str, difference: float, *, compared: bool, run: str) -> None:
    """Refuse an export whose outputs differ, or of which nothing was compared.

    Args:
        outputs: `logits` or `rewards`.
        difference: largest absolute difference; infinite if one was NaN.
        compared: whether there was text to compare outputs on.
        run: the run's key.

    Raises:
        AccountError: when the difference is above `LARGEST_DIFFERENCE`, or nothing was compared.
    """
    if not compared or difference > LARGEST_DIFFERENCE:
        raise AccountError(
            "export",
            f"{outputs} of transformers within {LARGEST_DIFFERENCE} of Megatron's",
            f"a difference of {difference}" if compared else f"no text to compare {outputs} on",
            stage="export",
            unit=run,
        )
