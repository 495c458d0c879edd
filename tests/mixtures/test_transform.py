"""The key `transform` of a source: what runs do with documents, and no build depends on."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.identity import build_identity
from mixproof.mixtures.spec import Spec

LoadWith = Callable[[str, str], Spec]
CODE = 'code: {files: "code/", format: code}'


def with_fim(fim: str) -> str:
    return f'code: {{files: "code/", format: code, transform: {{fim: {fim}}}}}'


def test_a_build_does_not_depend_on_it(load_with: LoadWith) -> None:
    plain = load_with(CODE, CODE)
    spec = load_with(CODE, with_fim("{rate: 90%}"))
    assert build_identity(spec) == build_identity(plain)
    assert (spec.fim_of("web"), plain.fim_of("code")) == (None, None)
    fim = spec.fim_of("code/python")
    assert fim is not None and (float(fim.rate), float(fim.spm_rate), fim.unit) == (0.9, 0.5, "document")


@pytest.mark.parametrize(
    ("fim", "message"),
    [
        ("{rate: 120%}", "transform.fim.rate"),
        ("{unit: piece}", "`piece` needs packed windows"),
        ("{prefix: <a>}", "needs all three tokens or none; missing: `suffix`, `middle`"),
        ("{prefix: <a>, suffix: <b>, middle: <a>}", "must be three different tokens"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(load_with: LoadWith, fim: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        load_with(CODE, with_fim(fim))
