"""A small static token table: a folder as model2vec writes it, in which words of a topic have similar vectors."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

TOPICS: Mapping[str, Sequence[str]] = {
    "law": ("court", "judge", "statute", "appeal", "clause", "verdict"),
    "sea": ("ship", "harbor", "sail", "anchor", "tide", "captain"),
    "food": ("bread", "butter", "oven", "recipe", "flour", "sugar"),
}


def write_table(folder: Path, dimensions: int = 8) -> Path:
    """Write `model.safetensors` and `tokenizer.json`; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["[UNK]", *(word for topic in TOPICS.values() for word in topic)]
    table = np.zeros((len(words), dimensions), np.float32)
    for number, word in enumerate(words[1:], 1):
        topic = next(index for index, members in enumerate(TOPICS.values()) if word in members)
        table[number, topic], table[number, 3 + number % (dimensions - 3)] = 1, 0.1
    data = table.tobytes()
    header = {"embeddings": {"dtype": "F32", "shape": list(table.shape), "data_offsets": [0, len(data)]}}
    head = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + data)
    unknown = words[0]
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token=unknown))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def text_of(topic: str, number: int) -> str:
    """A text of a topic; texts of different numbers differ."""
    words = TOPICS[topic]
    chosen = [words[(number + step * (1 + number % 3)) % len(words)] for step in range(5)]
    return f"{' '.join(chosen)} in case number {number} of {words[number % len(words)]}"
