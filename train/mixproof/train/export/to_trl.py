"""Export of a source of conversations as JSON lines for trl, with the splits of the build.

    train.jsonl, heldout.jsonl    `messages` (chat); `prompt`, `chosen`, `rejected` (preferences), lists of messages,
                                  with `score_chosen`, `score_rejected` and `margin` where a pair has them;
                                  `prompt`, `completion`, `attributes` (ratings)

Form: huggingface.co/docs/trl/dataset_formats, conversational. The messages are read from the raw files again, so the
trainer renders them with its own template; the order of a side is that of the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.chat.forms import Example
from mixproof.pipeline.chat.messages import Message
from mixproof.pipeline.inputs.files import InputFile

from .output_folder import output_folder
from .source_side import conversations_of, raw_examples, records_of_side

SIDES = ("train", "heldout")


def export_trl(
    manifest: Manifest, store: Store, name: str, spec: Spec, files: Sequence[InputFile], folder: Path
) -> dict[str, int]:
    """Write both sides of a source; return their records by side.

    Args:
        manifest: of the build in `store`.
        store: where the datasets are.
        name: of the source.
        spec: of the build.
        files: raw files of the source.
        folder: an empty folder, or one that does not exist yet.

    Raises:
        RequestError: when a raw file has changed since the build.
        DamagedFileError: when a file of the build is damaged, or a record of it is not in the raw files.
    """
    record = conversations_of(manifest, name)
    splits = {"train": record.train, "heldout": record.heldout}
    own = SIDES if record.heldout.imported_from is None else SIDES[:1]
    wanted = {side: records_of_side(store, splits[side]) for side in own}
    counts = dict.fromkeys(wanted, 0)
    with output_folder(folder) as scratch, ExitStack() as opened:
        paths = {side: scratch / f"{side}.jsonl" for side in wanted}
        outputs = {side: opened.enter_context(path.open("w", encoding="utf-8")) for side, path in paths.items()}
        for file, index, example in raw_examples(files, spec.sources[name], spec.limits, record, store):
            side = next((side for side, records in wanted.items() if (file, index) in records), None)
            if side is not None:
                outputs[side].write(json.dumps(trl_record(example, record.kind), ensure_ascii=False) + "\n")
                counts[side] += 1
        for side, records in wanted.items():
            if counts[side] != len(records):
                found = f"{counts[side]} of {len(records)} records are in the raw files"
                raise DamagedFileError(f"{name} {side}", "records", found)
    return counts


def trl_record(example: Example, kind: str | None) -> dict[str, Any]:
    """The record of an example; a build reads it as the same example again."""
    first = example.exchanges[0]
    if kind == "chat":
        return {"messages": _messages((*first.prompt, *first.answer))}
    prompt = {"prompt": _messages(first.prompt)}
    if kind == "preferences":
        chosen, rejected = (_messages(exchange.answer) for exchange in example.exchanges)
        margin = {} if example.margin is None else {"margin": example.margin}
        scores = zip(("score_chosen", "score_rejected"), example.ratings, strict=False)
        rated = {name: rating for name, rating in scores if rating is not None}
        return {**prompt, "chosen": chosen, "rejected": rejected, **rated, **margin}
    return {**prompt, "completion": _messages(first.answer), "attributes": dict(example.attributes)}


def _messages(turns: Iterable[Message]) -> list[dict[str, str]]:
    return [turn._asdict() for turn in turns]
