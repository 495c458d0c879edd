"""All held-out sets of a build: texts, parts, and both together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from mixproof.tokenize.audit.cells import CELL, check_labels, outside_cell
from mixproof.tokenize.audit.report import Checks, Reencoded

from .audited_source import AuditedSource, AuditedTokenizer
from .heldout import check_rows, check_set, check_texts
from .masks import Form, form_of
from .part_files import Reencode, check_part_files
from .reencode import load_reference, reencode_heldout, texts_by_hash
from .reencode_conversations import conversations_by_hash, load_conversation_ids, reencode_conversations


def check_heldout_sets(
    root: Path, tokenizer: AuditedTokenizer, sources: Sequence[AuditedSource], checks: Checks
) -> Reencoded:
    """Check every held-out set: its texts, its parts, and both together."""
    reencoded = Reencoded()
    for source in sources:
        at = checks.at(source=source.name, stage="heldout")
        heldout = source.record.heldout
        form = form_of(source.record)
        source.texts = check_texts(root, heldout, at, is_marked=form.kind is not None)
        reencode = _reencode_heldout(tokenizer, source.texts, form)
        for part in heldout.datasets:
            here = at.at(shard=part.prefix)
            rows, done = check_part_files(root, part, tokenizer.record, here, partial(check_rows, form=form), reencode)
            reencoded += done
            if rows is not None:
                _check_heldout_labels(source, rows, here)
                source.heldout_rows.append(rows)
        if len(source.heldout_rows) == len(heldout.datasets):
            source.heldout_positions = check_set(source.record, source.texts, source.heldout_rows, source.inputs, at)
    return reencoded


def _check_heldout_labels(source: AuditedSource, rows: pa.Table, checks: Checks) -> None:
    """Check the labels of a held-out part; those of an imported set are not known."""
    if source.record.heldout.imported_from is not None:
        return
    if check_labels(rows.schema, source.labels, source.cell, checks) and source.cell:
        outside = int(outside_cell(rows, source.cell).sum())
        checks.equal("E4", f"documents without {CELL}", 0, outside)


def _reencode_heldout(tokenizer: AuditedTokenizer, texts: pa.Table | None, form: Form) -> Reencode | None:
    if tokenizer.path is None or texts is None:
        return None
    if form.kind is not None:
        conversation_ids = load_conversation_ids(tokenizer.path, tokenizer.record)
        return partial(reencode_conversations, conversation_ids, conversations_by_hash(texts))
    reference, before = load_reference(tokenizer.path, tokenizer.record), tokenizer.record.around - 1
    return partial(reencode_heldout, reference, texts_by_hash(texts), before=before)
