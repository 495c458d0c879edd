"""Lengths of documents: quantiles and bins by hand, and of many row groups a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.store import Store
from mixproof.tokenize.page.lengths import MOST_ROW_GROUPS, Lengths, histograms, lengths_table, read_lengths
from mixproof.tokenize.page.palette import looks
from small_manifest import SOURCES, manifest


def lengths(source: str, *tokens: int) -> Lengths:
    return Lengths(source, len(tokens), np.sort(np.array(tokens, np.int64)))


def test_bins_are_powers_of_two_and_quantiles_are_lengths_of_documents() -> None:
    one = lengths("code", 1, 2, 3, 4, 7, 8, 100)
    assert one.bins() == {0: 1, 1: 2, 2: 2, 3: 1, 6: 1}
    assert [one.quantile(share) for share in (0.0, 0.5, 1.0)] == [1, 4, 100]
    assert lengths("code").quantile(0.5) == 0 and lengths("code").bins() == {}


def test_histograms_share_an_axis() -> None:
    of = looks(("code", "web"))
    code, web = histograms([lengths("code", 1, 1, 2), lengths("web", 16)], of)
    # bins 0 to 4, 20 px each; the highest bar has 64 px
    assert code.width == web.width == 100
    assert [(bar.x, bar.height) for bar in code.bars] == [(0, 64.0), (20, 32.0)]
    assert [(bar.x, bar.title) for bar in web.bars] == [(80, "16 to 31 tokens: 1 documents")]
    assert code.ticks == web.ticks == ((0, "1"), (60, "8"))
    assert histograms([lengths("code")], of) == []


def test_of_many_row_groups_every_nth_is_read(tmp_path: Path) -> None:
    store, made = Store(tmp_path), manifest()
    groups = 2 * MOST_ROW_GROUPS
    for source in made.sources.values():
        for part in source.train.datasets:
            path = store.path(part.provenance)
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"tokens": pa.array(range(groups), pa.int32())}), path, row_group_size=1)
    found = read_lengths(store, made)
    assert [one.source for one in found] == sorted(SOURCES)
    assert found[0].tokens.tolist() == list(range(0, groups, 2))
    row = [cell.text for cell in lengths_table(found, looks(SOURCES)).rows[0]]
    assert row == ["code", "882", "64", "0", "12", "62", "112", "126", "63"]
