"""Clusters by a transformer encoder: its vectors against a forward pass of their own, what is refused, one build."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from in_process import InProcess, build_in
from mixproof.cli.request import open_request
from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.pipeline.clusters.cluster_file import STAGE
from mixproof.pipeline.clusters.embed import KINDS, UNIT, embed
from mixproof.pipeline.clusters.encoder import LENGTH, check_encoder, encode
from mixproof.pipeline.clusters.encoder_files import EncoderFiles, find_encoder
from mixproof.pipeline.clusters.find_embedding import find_embedding, find_static
from mixproof.pipeline.clusters.sample_vectors import sample_vectors
from mixproof.tokenize.audit import replay_build
from random_encoder import LONGEST, as_sentence_transformers, write_encoder
from static_table import TOPICS, text_of

TEXTS = [text_of(topic, number) for number in range(8) for topic in TOPICS]
LONG = " ".join(TEXTS)
SPEC = """\
schema: 1
name: encoder
dedup: {semantic: {threshold: 100%, embedding: encoder, min_chars: 10, chars_per_token: 1}}
sources: {all: {files: web.jsonl, split_by: {clusters: {number: 2, embedding: encoder}}}}
heldout: {create: {tokens: 1, min_documents: 1}}
decontaminate: false
tokenizer: {train: {vocab_size: 300, bytes: 1MB}}
mixtures: {whole: {all: 100%}}
train: {sequence_length: 16, proxies: {nano: {tokens: 512, global_batch_size: 4, lr: 1e-3}}}
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def directions_of(folder: Path, text: str, pooling: str, longest: int) -> NDArray[np.float64]:
    """The normalized vector of one text by transformers' own tokenizer and model: float64 [32]."""
    import torch
    from transformers import BertModel, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    given = tokenizer(text, truncation=True, max_length=longest, return_tensors="pt")
    with torch.no_grad():
        states = BertModel.from_pretrained(folder).eval()(given["input_ids"]).last_hidden_state[0].double().numpy()
    vector = states[0] if pooling == "cls" else states.mean(axis=0)
    found: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return found


@pytest.mark.parametrize(("layout", "pooling", "longest"), [("plain", "mean", LONGEST), ("st", "cls", 10)])
def test_vectors_are_those_of_transformers_in_both_layouts(
    encoder: Path, tmp_path: Path, layout: str, pooling: str, longest: int
) -> None:
    folder = Path(shutil.copytree(encoder, tmp_path / "encoder"))
    if layout == "st":
        as_sentence_transformers(folder, pooling, longest)
    files = find_embedding(folder)
    assert isinstance(files, EncoderFiles) and (files.pooling, files.max_tokens) == (pooling, longest)
    check_encoder(files)
    found, tokens = encode([TEXTS[0], LONG, " \n"], files)
    for row, text in zip(found, (TEXTS[0], LONG), strict=False):
        assert np.abs(row / LENGTH - directions_of(folder, text, pooling, longest)).max() < 1 / LENGTH
    assert tokens.tolist() == [len(TEXTS[0].split()), len(LONG.split()), 0] and not found[2].any()


def test_a_vector_is_the_same_alone_and_beside_any_text_and_the_files_identify_it(
    encoder: Path, tmp_path: Path
) -> None:
    files = find_encoder(encoder)
    together = embed([LONG, *TEXTS], files, 2000)
    assert together.shape == (25, 32 + KINDS)
    assert np.abs(np.linalg.norm(together.astype(float), axis=1) - UNIT).max() < 4
    assert np.array_equal(together, np.concatenate([embed([text], files, 2000) for text in (LONG, *TEXTS)]))
    assert np.array_equal(embed(["bread ship"], files, 5), embed(["bread oven"], files, 5))
    other = Path(shutil.copytree(encoder, tmp_path / "other"))
    assert find_encoder(other).sha256 == files.sha256
    as_sentence_transformers(other, "cls", LONGEST)
    assert find_encoder(other).sha256 != files.sha256
    assert str(other / "1_Pooling" / "config.json") in find_encoder(other).paths
    assert find_encoder(write_encoder(tmp_path / "seed", seed=1)).sha256 != files.sha256


def test_the_vectors_of_a_sample_are_made_once(encoder: Path, tmp_path: Path) -> None:
    files, store = find_encoder(encoder), Store(str(tmp_path / "store"))
    many = [f"{text} {number}" for number in range(6) for text in TEXTS]
    with InProcess() as own:
        first = sample_vectors(many, many, files, 2000, store, own)
        assert own.tasks[STAGE] == 2  # of 128 texts each
        assert np.array_equal(sample_vectors(many, many, files, 2000, store, own), first) and own.tasks[STAGE] == 2
    assert np.array_equal(first, embed(many, files, 2000))


def change(folder: Path, name: str, **values: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def sharded(folder: Path, weight_map: object) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def with_dense(folder: Path) -> None:
    as_sentence_transformers(folder, "mean", LONGEST)
    rows = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*rows, {"path": "3_Dense", "type": "models.Dense"}]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pickled, r"pytorch_model\.bin: pickled weights can execute code .*save_pretrained\(FOLDER\)"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"model\.safetensors: no such file"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer\.json: no such file; write it with"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), r"tokenizer\.json: not a tokenizer of"),
        (partial(change, name="config.json", max_position_embeddings=7), "has 7 tokens, and at least 8 are needed"),
        (partial(change, name="config.json", model_type="t5", is_encoder_decoder=True), "t5 is an encoder-decoder"),
        (partial(change, name="config.json", architectures=["GPT2LMHeadModel"]), "GPT2LMHeadModel is a decoder"),
        (partial(as_sentence_transformers, pooling="max", longest=9), "pooling by pooling_mode_max_tokens is not"),
        (with_dense, "the module Dense is not supported"),
        (partial(change, name="config.json", num_hidden_layers=3), "the weights lack encoder.layer.2"),
        (partial(change, name="config.json", model_type="unheard"), "transformers cannot load this encoder"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 20), "its header cannot be read"),
        (partial(change, name="config.json", vocab_size=9), "has 26 tokens, but the model has 9|shape differs"),
        (partial(change, name="config.json", num_hidden_layers=10**6), "describes a larger model than its weights"),
        (partial(change, name="config.json", vocab_size=10**11), "describes a larger model than its weights"),
        (partial(change, name="config.json", attn_implementation="owner/kernel"), "may load code from elsewhere"),
        (partial(change, name="config.json", text_config={"_attn_implementation": "owner/kernel"}), "may load code"),
        (partial(change, name="config.json", quantization_config={"quant_method": "gptq"}), "may load code"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "adapters are not supported"),
        (partial(change, name="config.json", pad_token_id=1.5), "pad_token_id is not a whole number"),
        (partial(sharded, weight_map={"a": "../encoder/model.safetensors"}), r"which is not in the folder"),
        (partial(sharded, weight_map=["a"]), "lists no files"),
        (lambda folder: (folder / "modules.json").write_text('[{"path": "/etc"}]'), "names '/etc', which is not in"),
    ],
)
def test_what_is_no_encoder_is_refused(
    encoder: Path, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    folder = Path(shutil.copytree(encoder, tmp_path / "encoder"))
    spoil(folder)
    with pytest.raises(RequestError, match=message):
        check_encoder(find_encoder(folder))


def test_a_classifier_takes_no_encoder(encoder: Path) -> None:
    with pytest.raises(RequestError, match="embeds its examples many times and takes a static token table"):
        find_static(encoder)


def test_a_source_is_divided_by_an_encoder_and_replayed(encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(encoder, tmp_path / "encoder")
    texts = [*TEXTS, f"{TEXTS[0]} x", f"{TEXTS[0]} y"]  # the encoder knows neither x nor y
    (tmp_path / "web.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    path, manifest = build_in(tmp_path, SPEC)
    rows = [row for source in manifest.sources.values() for row in source.ledger if row.stage == "semantic"]
    lost = [sum(count.documents for count in row.dropped.values()) for row in rows]
    assert lost == [7, 7]  # the row of the source, in both parts: six texts differ in their numbers alone
    (axis,) = manifest.cells["all"].axes
    assert axis.clusters is not None and len(axis.cells) == 2
    stated = json.loads((tmp_path / "store" / axis.clusters.path).read_bytes())
    assert stated["table_sha256"] == find_encoder(encoder).sha256 and len(stated["centroids"][0]) == 32 + KINDS
    assert sum(cluster["sample_documents"] for cluster in stated["clusters"]) == len(texts) - 7
    request = open_request(tmp_path / "spec.yaml", str(tmp_path / "store"))
    with InProcess() as own:
        replay = partial(replay_build, request.spec, request.files(), request.store, path, own, base=tmp_path)
        report = replay()
        assert report.ok and report.checks > len(TEXTS)
        as_sentence_transformers(tmp_path / "encoder", "cls", LONGEST)
        with pytest.raises(RequestError, match="another token table or encoder than"):
            replay()
