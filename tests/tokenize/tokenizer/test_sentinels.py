"""The tokens of fill-in-the-middle: found under their known names, or as the spec names them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.spec import Spec
from mixproof.tokenize.tokenizer.huggingface import HuggingFaceReference
from mixproof.tokenize.tokenizer.sentinels import FAMILIES, check_sentinels, find_sentinels

SPEC = """\
schema: 1
name: small
sources:
  code: {files: "code/", transform: {fim: %s}}
tokenizer: {huggingface: tokenizer.json}
mixtures: {all: {code: 100%%}}
train: {proxies: {nano: {tokens: 1000, global_batch_size: 2, lr: 1.0e-3}}}
"""


def spec_with(folder: Path, fim: str) -> Spec:
    (folder / "spec.yaml").write_text(SPEC % fim)
    return load_spec(folder / "spec.yaml").spec


def reference_with(folder: Path, tokens: tuple[str, ...], *, special: bool = True) -> HuggingFaceReference:
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(["<end>", *tokens])
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(tokenizer.to_str())))
    return HuggingFaceReference(str(path))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_tokens_of_known_models_are_found(tmp_path: Path, family: str) -> None:
    spec = spec_with(tmp_path, "{}")
    prefix, suffix, middle = FAMILIES[family]
    reference = reference_with(tmp_path, (middle, prefix, suffix), special=family != "Qwen")
    assert find_sentinels(reference, spec, "code") == (3, 4, 2)


def test_a_spec_names_its_own_and_what_lacks_is_said_before_any_work(tmp_path: Path) -> None:
    reference = reference_with(tmp_path, ("<1>", "<2>", "<3>"))
    own = spec_with(tmp_path, "{prefix: <2>, suffix: <1>, middle: <3>}")
    assert find_sentinels(reference, own, "code") == (3, 2, 4)
    for fim, message in (
        ("{}", "spec.yaml:4: sources.code.transform.fim: the tokenizer has none of the known tokens"),
        ("{prefix: <2>, suffix: <9>, middle: a}", "'<9>', 'a': not a special or added token of the tokenizer"),
    ):
        with pytest.raises(RequestError, match=re.escape(message)):
            check_sentinels(spec_with(tmp_path, fim), reference)
