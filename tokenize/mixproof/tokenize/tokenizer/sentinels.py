"""The sentinels of fill-in-the-middle: the tokens before prefix, suffix and middle, found in a tokenizer by name."""

from __future__ import annotations

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.spec import Spec

from .reference import Reference

FAMILIES = {
    "StarCoder": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "SantaCoder": ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    "Qwen": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    "Code Llama": ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    "DeepSeek": ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    "Codestral": ("[PREFIX]", "[SUFFIX]", "[MIDDLE]"),
}
"""Names by the models that introduced them, as in their tokenizers' files on huggingface.co; before prefix, suffix and
middle."""


def find_sentinels(reference: Reference, spec: Spec, source: str) -> tuple[int, int, int]:
    """Return the ids of a source's sentinels.

    Args:
        reference: the tokenizer.
        spec: whose `source` has fill-in-the-middle.
        source: name of the source, or of a part of it.

    Raises:
        RequestError: when the tokenizer lacks one.
    """
    fim = spec.fim_of(source)
    assert fim is not None, "the source has fill-in-the-middle"
    declared, where = fim.sentinels, spec.where("sources", source, "transform", "fim")
    for pieces in (declared,) if declared is not None else FAMILIES.values():
        prefix, suffix, middle = (reference.find_added(piece) for piece in pieces)
        if prefix is not None and suffix is not None and middle is not None:
            return prefix, suffix, middle
        if declared is not None:
            missing = ", ".join(repr(piece) for piece in pieces if reference.find_added(piece) is None)
            raise RequestError(
                f"{where}: {missing}: not a special or added token of the tokenizer; it has {_known(reference)}"
            )
    raise RequestError(
        f"{where}: the tokenizer has none of the known tokens for fill-in-the-middle ({', '.join(FAMILIES)}); name "
        f"them with `prefix`, `suffix` and `middle`, or use a tokenizer that has them; it has {_known(reference)}"
    )


def check_sentinels(spec: Spec, reference: Reference) -> None:
    """Refuse fill-in-the-middle with a tokenizer that lacks the tokens, before any work.

    Raises:
        RequestError: naming the source and the tokens.
    """
    for name in spec.sources:
        if spec.fim_of(name) is not None:
            find_sentinels(reference, spec, name)


def _known(reference: Reference) -> str:
    """The first special and added tokens of a tokenizer."""
    pieces = [*reference.special_pieces, *reference.added_pieces]
    more = f" and {len(pieces) - 20} more" if len(pieces) > 20 else ""
    return (", ".join(map(repr, pieces[:20])) or "none") + more
