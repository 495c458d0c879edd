"""fastText with hashed pairs of words, as DCLM's quality classifier: the same texts give the same bytes.

fastText's result depends on the interleaving of its threads, so one thread trains, in a fixed order of texts. The
smaller side is repeated until both are equally large; then a probability of one half means "as likely as not",
whatever the sizes of the sides.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError

POSITIVE, NEGATIVE = "positive", "negative"
PREFIX = "__label__"
PACKAGE = "fasttext-numpy2-wheel"
"""Has the training; the module of the same name in fasttext-predict can only predict."""
SETTINGS = {"dim": 16, "wordNgrams": 2, "epoch": 5, "lr": 0.1, "bucket": 500_000, "minCount": 2, "seed": 0, "thread": 1}


def check_training() -> None:
    """Refuse to train where the package cannot.

    Raises:
        RequestError: saying what to install.
    """
    try:
        importlib.import_module("fasttext.FastText").train_supervised  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise RequestError(f"training a fastText model: {error}: pip install 'mixproof[documents]'") from error


def train_fasttext(texts: Sequence[str], is_positive: NDArray[np.bool_], model: Path) -> None:
    """Train a model on texts and write it to the file `model`.

    Args:
        texts: the texts, in any order that the caller fixes.
        is_positive: bool [texts], with texts on both sides.
        model: the file to write.
    """
    module = importlib.import_module("fasttext.FastText")
    with tempfile.TemporaryDirectory(dir=model.parent, prefix="training-") as folder:
        path = Path(folder) / "texts.txt"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for index in training_order(is_positive).tolist():
                label = POSITIVE if is_positive[index] else NEGATIVE
                file.write(f"{PREFIX}{label} {line_of(texts[index])}\n")
        trained = module.train_supervised(input=str(path), verbose=0, **SETTINGS)
    trained.save_model(str(model))


def training_order(is_positive: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The texts in the order of training, those of the smaller side repeated: indices, in a fixed random order."""
    sides = [np.flatnonzero(is_positive), np.flatnonzero(~is_positive)]
    most = max(map(len, sides))
    every = np.concatenate([np.resize(side, most) for side in sides])
    keys = [xxhash.xxh3_64_intdigest(str(place).encode()) for place in range(len(every))]
    order: NDArray[np.int64] = every[np.argsort(np.array(keys, np.uint64), kind="stable")]
    return order


def line_of(text: str) -> str:
    """A text as one line without words that fastText would take for labels."""
    return text.replace("\n", " ").replace("\r", " ").replace(PREFIX, "__ label__")
