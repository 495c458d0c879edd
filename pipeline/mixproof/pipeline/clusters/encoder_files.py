"""The folder of a transformer encoder: as transformers saves one, or as sentence-transformers does.

Read are `config.json`, the weights in safetensors (one file, or several with an index) and `tokenizer.json`. Of
sentence-transformers, `modules.json` says where the transformer is and what follows it; the folder of the pooling
states whether token vectors are averaged (`mean`, also the default) or the first one is taken (`cls`);
`sentence_bert_config.json` limits the tokens of a text. Nothing of the folder is executed, and pickled weights are not
read.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mixproof.ledger.errors import RequestError
from mixproof.ledger.files import leads_out
from mixproof.ledger.fingerprint import canonical_json, sha256_of_file

from .token_table import INNER_FOLDER, MAX_TOKENS, TableFiles

VERSION = 1
CONFIG, TOKENIZER, MODULES = "config.json", "tokenizer.json", "modules.json"
WEIGHTS, INDEX, PICKLED = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
ADAPTER = "adapter_config.json"
POOLING_FOLDER = "1_Pooling"
PACKAGES = ("torch", "transformers")
DEVICE = "cpu"
"""Where encoders run. Another kind of device gives other last bits, so it is part of the identity."""
DIMENSIONS = ("hidden_size", "dim", "d_model")
"""Names of the length of a token vector: of most models, DistilBERT's, XLNet's."""
PADDING_SHIFTS = frozenset(
    {"camembert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl"}
)
"""Model types that count positions from `pad_token_id` + 1."""
LIMITS = (("tokenizer_config.json", "model_max_length"), ("sentence_bert_config.json", "max_seq_length"))
"""Files and keys that may limit the tokens of a text further."""
LEAST_TOKENS = 8
QUANTIZATION = "quantization_config"
IMPLEMENTATION = ("_implementation", "_implementation_internal")
"""Endings of keys by which a configuration can have transformers load a kernel, which is code, from the Hub."""
OWN_IMPLEMENTATIONS = ("eager", "sdpa")
"""Of attention, in torch."""
DECODERS = ("ForCausalLM", "LMHeadModel")
FOLLOWERS = {"Pooling", "Normalize"}
"""Modules of sentence-transformers that may follow the transformer; vectors are normalized in any case."""


@dataclass(frozen=True)
class EncoderFiles(TableFiles):
    """A transformer encoder: `table` is its first file of weights."""

    weights: tuple[str, ...]
    settings: tuple[str, ...]
    """Files that say how the model is used."""
    pooling: str
    """`mean` or `cls`."""
    max_tokens: int
    """Longest input, special tokens included."""
    hidden_size: int

    @property
    def folder(self) -> str:
        """Where the transformer is."""
        return str(Path(self.table).parent)

    @property
    def paths(self) -> tuple[str, ...]:
        """All files that vectors depend on."""
        return (*self.weights, self.tokenizer, *self.settings)

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self.hidden_size


def is_encoder(folder: Path) -> bool:
    """Whether a folder holds a transformer rather than a static token table."""
    if (folder / INNER_FOLDER).is_dir():
        return False
    path = _transformer_folder(folder) / CONFIG
    kind = _read(path).get("model_type") if path.is_file() else None
    return isinstance(kind, str) and kind != "model2vec"


def find_encoder(folder: Path) -> EncoderFiles:
    """Find the files of an encoder.

    Raises:
        RequestError: when a file or a package is missing, or the model is not an encoder that can be used.
    """
    inner = _transformer_folder(folder)
    config = _read(inner / CONFIG)
    _refuse_others(inner / CONFIG, config)
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise RequestError(
            f"{folder}: a transformer encoder needs {' and '.join(missing)}, which is not installed: "
            "pip install 'mixproof[train,export]'"
        )
    weights = _weights(inner)
    if not (inner / TOKENIZER).is_file():
        raise RequestError(
            f"{inner / TOKENIZER}: no such file; write it with transformers: "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    pooling, max_tokens = _pooling(folder), _max_tokens(inner, config)
    identity = {
        "version": VERSION,
        "device": DEVICE,
        "pooling": pooling,
        "max_tokens": max_tokens,
        "files": [sha256_of_file(path) for path in (inner / CONFIG, *weights, inner / TOKENIZER)],
    }
    return EncoderFiles(
        table=str(weights[0].absolute()),  # a link stays one: in a cache of Hugging Face, its target has another folder
        tokenizer=str((inner / TOKENIZER).absolute()),
        sha256=hashlib.sha256(canonical_json(identity)).hexdigest(),
        weights=tuple(str(path.absolute()) for path in weights),
        settings=tuple(str(path.absolute()) for path in _settings(folder, inner) if path.is_file()),
        pooling=pooling,
        max_tokens=max_tokens,
        hidden_size=next(int(config[name]) for name in DIMENSIONS if name in config),
    )


def _settings(folder: Path, inner: Path) -> list[Path]:
    """Where the files may be that say how the model is used."""
    modules = [folder / _path(module, folder) / CONFIG for module in _modules(folder)[1:]]
    limits = [inner / name for name, _ in LIMITS]
    return [inner / CONFIG, folder / MODULES, *(modules or [folder / POOLING_FOLDER / CONFIG]), *limits]


def _refuse_others(path: Path, config: dict[str, Any]) -> None:
    """Refuse models that are not encoders."""
    kind = config["model_type"]
    if config.get("is_encoder_decoder"):
        raise RequestError(f"{path}: {kind} is an encoder-decoder; `embedding` takes encoders, such as BERT")
    for name, value in _settings_of(config):
        if name == QUANTIZATION or (name.strip("_").endswith(IMPLEMENTATION) and value not in OWN_IMPLEMENTATIONS):
            raise RequestError(f"{path}: {name} is not supported: it may load code from elsewhere; remove it")
    if (path.parent / ADAPTER).is_file():
        raise RequestError(f"{path.parent / ADAPTER}: adapters are not supported; merge it into the model")
    stated = config.get("architectures")
    names = [str(name) for name in stated] if isinstance(stated, list) else []
    if config.get("is_decoder") or any(name.endswith(DECODERS) for name in names):
        raise RequestError(f"{path}: {', '.join(names) or kind} is a decoder; `embedding` takes encoders, such as BERT")
    if not any(isinstance(config.get(name), int) for name in DIMENSIONS):
        raise RequestError(f"{path}: states none of {', '.join(DIMENSIONS)}, so it is not the config of a text encoder")


def _settings_of(config: object) -> Iterator[tuple[str, object]]:
    """Keys and values of a configuration and of those in it."""
    if isinstance(config, dict):
        for name, value in config.items():
            yield name, value
            yield from _settings_of(value)


def _weights(folder: Path) -> list[Path]:
    """The files of weights: one, or those that an index lists."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        named = _read(folder / INDEX).get("weight_map")
        names = sorted({str(name) for name in named.values()}) if isinstance(named, dict) else []
        for name in names:
            if leads_out(name):
                raise RequestError(f"{folder / INDEX}: lists {name!r}, which is not in the folder")
        absent = [name for name in names if not (folder / name).is_file()]
        if names and not absent:
            return [folder / name for name in names]
        raise RequestError(f"{folder / INDEX}: lists {absent[0] if absent else 'no files'}; complete the folder")
    if (folder / PICKLED).is_file():
        raise RequestError(
            f"{folder / PICKLED}: pickled weights can execute code and are not read; write {WEIGHTS} with "
            "transformers: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    raise RequestError(
        f"{folder / WEIGHTS}: no such file; the folder of an encoder has {CONFIG}, {WEIGHTS}, {TOKENIZER}"
    )


def _transformer_folder(folder: Path) -> Path:
    """The folder itself, or the one that `modules.json` names for the transformer."""
    modules = _modules(folder)
    return folder / _path(modules[0], folder) if modules else folder


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / MODULES
    if not path.is_file():
        return []
    found = _parse(path)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise RequestError(f"{path}: not a list of modules, as sentence-transformers writes it")
    return found


def _path(module: dict[str, Any], folder: Path) -> str:
    """The folder of a module of sentence-transformers."""
    path = str(module.get("path", ""))
    if leads_out(path):
        raise RequestError(f"{folder / MODULES}: names {path!r}, which is not in the folder")
    return path


def _pooling(folder: Path) -> str:
    """`mean` or `cls`, as the pooling of sentence-transformers states; `mean` without one."""
    path = folder / POOLING_FOLDER / CONFIG
    for module in _modules(folder)[1:]:
        name = str(module.get("type", "")).rpartition(".")[2]
        if name not in FOLLOWERS:
            raise RequestError(
                f"{folder / MODULES}: the module {name} is not supported; after the transformer, only "
                f"{' and '.join(sorted(FOLLOWERS))} are"
            )
        if name == "Pooling":
            path = folder / _path(module, folder) / CONFIG
            if not path.is_file():
                raise RequestError(f"{path}: no such file, but {MODULES} names it; complete the folder")
    if not path.is_file():
        return "mean"
    config = _read(path)
    flags = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}
    states = {key for key, value in config.items() if key.startswith("pooling_mode_") and value is True}
    modes = [config["pooling_mode"]] if "pooling_mode" in config else [n for n, f in flags.items() if states == {f}]
    if modes not in (["mean"], ["cls"]):
        shown = config.get("pooling_mode") or ", ".join(sorted(states)) or "no mode"
        raise RequestError(f"{path}: pooling by {shown} is not supported; `mean` and `cls` are")
    return str(modes[0])


def _max_tokens(folder: Path, config: dict[str, Any]) -> int:
    """The smallest of the limits that the model, its tokenizer and sentence-transformers state."""
    pad = config.get("pad_token_id") or 0
    if not isinstance(pad, int):
        raise RequestError(f"{folder / CONFIG}: pad_token_id is not a whole number")
    shift = pad + 1 if config["model_type"] in PADDING_SHIFTS else 0
    limits = [MAX_TOKENS]
    if isinstance(config.get("max_position_embeddings"), int):
        limits.append(config["max_position_embeddings"] - shift)
    for name, key in LIMITS:
        value = _read(folder / name).get(key) if (folder / name).is_file() else None
        if isinstance(value, int | float):
            limits.append(int(min(value, MAX_TOKENS)))
    if min(limits) < LEAST_TOKENS:
        raise RequestError(
            f"{folder / CONFIG}: the longest input has {min(limits)} tokens, and at least {LEAST_TOKENS} are needed"
        )
    return min(limits)


def _read(path: Path) -> dict[str, Any]:
    found = _parse(path)
    if not isinstance(found, dict):
        raise RequestError(f"{path}: not a JSON object")
    return found


def _parse(path: Path) -> Any:  # noqa: ANN401  a JSON value of any type
    try:
        return orjson.loads(path.read_bytes())
    except ValueError as error:
        raise RequestError(f"{path}: not valid JSON: {error}") from error
