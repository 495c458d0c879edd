"""Manifests of other teams: no path or name in them leads out of a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import read_manifest
from small_manifest import manifest


@pytest.mark.parametrize(
    ("mine", "theirs", "named"),
    [
        ('"code":', '"/home/me/corpus":', r"sources\..*/home/me/corpus"),
        ('"code":', '"a/../../b":', r"sources\.a/\.\./\.\./b"),
        ('"tokenizer/key/tok.model"', '"../tok.model"', r"tokenizer\.path: .*'\.\./tok\.model' leads out of the store"),
        ('"path": "read/', '"path": "/etc/', r"sources\.code\.inputs\.path: .*leads out of the store"),
    ],
)
def test_a_manifest_with_a_name_that_leads_outside_is_refused(
    tmp_path: Path, mine: str, theirs: str, named: str
) -> None:
    path = tmp_path / "manifest.json"
    text = json.dumps(json.loads(manifest().to_bytes()))
    path.write_text(text)
    assert read_manifest(path) == manifest()
    assert mine in text
    path.write_text(text.replace(mine, theirs))
    with pytest.raises(RequestError, match=named):
        read_manifest(path)
