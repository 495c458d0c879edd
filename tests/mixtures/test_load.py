"""The whole schema loads; what is wrong is said with file, line, key and the way out."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from mixproof.mixtures.blocks.heldout import EvaluationFiles
from mixproof.mixtures.blocks.source import Step
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.spec import Spec

LoadText = Callable[[str], Spec]
LoadWith = Callable[[str, str], Spec]

EVERYTHING = """\
schema: 1
name: everything
sources:
  english:
    files: "s3://corpora/en/**/*.parquet"
    steps: [ftfy, {language: {keep: [en], min_score: 0.65}}, {datatrove: GopherQualityFilter, min_doc_words: 50}]
    split_by: quality
  code: {files: ["a", "b"], format: jsonl, text: content, id: path}
  legacy: {megatron: "s3://tok/legacy"}
on_bad_record: {reject: 0.5%}
dedup: {exact: true, fuzzy: {ngram: 4, bands: 20, rows: 8, threshold: 0.8}, scope: {web: [english, code]}}
heldout: {from: other/manifest.json}
decontaminate: {against: "evals/*.jsonl", ngram: 8, overlap: 0.25}
tokenizer: {sentencepiece: tok.model, eod: "<eod>"}
target: {tokens: 10T, max_epochs: {code: 2}, simulate: true}
mixtures:
  explicit: {english: 70%, code: 0.3, legacy: 0}
  parts: {parts: {english: 2, code: 1}}
  groups:
    web: {share: 60%, of: {english/high: 2, english/low: 1}}
    rest: {share: 40%, of: {code: 1, old: {parts: 3, of: {legacy: 1}}}}
  natural: {rule: proportional, times: {code: 2}}
  flat: {rule: temperature, temperature: 2.5}
  even: {rule: unimax}
  annealed:
    phases:
      - {until: 80%, shares: natural}
      - {until: 90%, shares: {parts: {code: 1}}}
      - {until: 100%, shares: parts}
train:
  sequence_length: 2_048
  document_mask: true
  schedule: {wsd: {warmup: 5%, decay: 10%, shape: linear}}
  optimizer: {weight_decay: 0, clip: 0.5, betas: [0.8, 0.99]}
  proxies:
    62m: {tokens: 2B, global_batch_size: 512, lr: 3.0e-3, min_lr: 3.0e-4}
    mine: {tokens: 2M, global_batch_size: 4, lr: 1e-2, micro_batch_size: 2,
           architecture: {layers: 2, hidden: 32, ffn: 64, heads: 4, kv_heads: 2, head_dim: 8}}
  init_from: ckpt
  checkpoint_every: 100M
  seeds: [3, 1]
objective: {heldout_bpb: {english: 1, code: 0.5}}
"""


def test_every_part_of_the_schema_loads_into_exact_values(load_text: LoadText) -> None:
    spec = load_text(EVERYTHING)
    assert spec.sources["english"].files == ("s3://corpora/en/**/*.parquet",)
    assert spec.sources["english"].steps == (
        Step(name="ftfy"),
        Step(name="language", options={"keep": ["en"], "min_score": Fraction(65, 100)}),
        Step(name="datatrove", options={"class": "GopherQualityFilter", "min_doc_words": 50}),
    )
    assert spec.on_bad_record.reject == Fraction(5, 1000)
    assert spec.dedup is not None and spec.dedup.scope == {"web": ("english", "code")}
    assert (spec.heldout.create, spec.heldout.from_) == (None, "other/manifest.json")
    assert spec.decontaminate and spec.decontaminate.against == (EvaluationFiles(files=("evals/*.jsonl",)),)
    assert spec.max_epochs("code") == 2
    assert spec.max_epochs("english") == 4
    assert spec.train.proxies["mine"].min_lr == Fraction(1, 1000)
    assert spec.train.checkpoint_every == 100_000_000


def test_every_form_of_a_mixture_reduces_to_exact_shares(load_text: LoadText) -> None:
    mixtures = load_text(EVERYTHING).mixtures
    assert mixtures["explicit"].shares == {"english": Fraction(7, 10), "code": Fraction(3, 10), "legacy": 0}
    assert mixtures["parts"].shares == {"english": Fraction(2, 3), "code": Fraction(1, 3)}
    assert mixtures["groups"].shares == {
        "english/high": Fraction(4, 10),
        "english/low": Fraction(2, 10),
        "code": Fraction(1, 10),
        "legacy": Fraction(3, 10),
    }
    natural, code, parts = mixtures["annealed"].phases
    assert (natural.until, natural.rule, natural.times) == (Fraction(8, 10), "proportional", {"code": Fraction(2)})
    assert code.shares == {"code": Fraction(1)}
    assert parts.shares == mixtures["parts"].shares


def test_what_is_not_said_has_the_defaults_of_the_design(small: Spec) -> None:
    assert small.dedup is None
    assert small.heldout.create is not None
    assert (small.heldout.create.tokens, small.heldout.create.min_documents) == (None, 50)
    assert small.decontaminate and (small.decontaminate.ngram, small.decontaminate.overlap) == (13, Fraction(1, 2))
    assert small.on_bad_record.reject == Fraction(1, 100)
    assert small.max_epochs("web") == 4
    assert small.train.seeds == (1,)
    wsd = small.train.schedule.wsd
    assert (wsd.warmup, wsd.decay, wsd.shape) == (Fraction(2, 100), Fraction(20, 100), "minus_sqrt")


@pytest.mark.parametrize(("key", "what"), [("paragraphs", "lines"), ("substrings", "text")])
def test_texts_of_conversations_are_not_cut(load_text: LoadText, base: str, key: str, what: str) -> None:
    chats = base.replace("sources:", "sources:\n  chats: {files: c.jsonl, format: chat}", 1)
    message = rf"dedup\.{key}: would cut {what} out of the conversations of 'chats'; list the other sources"
    with pytest.raises(SpecError, match=message):
        load_text(chats + f"dedup: {{{key}: true}}\n")
    load_text(chats + f"dedup: {{{key}: {{sources: [web]}}}}\n")


def test_switches_may_be_written_as_true_and_false(load_text: LoadText, base: str) -> None:
    assert load_text(base + "decontaminate: false\n").decontaminate is False
    assert load_text(base + "decontaminate: true\n") == load_text(base)
    assert load_text(base + "dedup: true\n") == load_text(base + "dedup: {exact: true}\n")
    assert load_text(base + "dedup: false\n").dedup is None
    assert load_text(base + "dedup: {paragraphs: true}\n") == load_text(base + "dedup: {paragraphs: {}}\n")
    assert load_text(base + "dedup: {paragraphs: false}\n") == load_text(base + "dedup: {}\n")
    assert load_text(base + "dedup: {substrings: true}\n") == load_text(base + "dedup: {substrings: {bytes: 400}}\n")
    assert load_text(base + "heldout: {}\n") == load_text(base)
    assert load_text(base + "target: {tokens: 1B, max_epochs: 2}\n").max_epochs("web") == 2


def test_a_start_is_a_folder_or_says_what_is_taken_of_it(load_text: LoadText) -> None:
    weights = load_text(EVERYTHING).train.init_from
    assert weights is not None and weights.checkpoint.endswith("/ckpt") and not weights.optimizer
    taken = load_text(EVERYTHING.replace("ckpt", "{checkpoint: ckpt, optimizer: true}")).train.init_from
    assert taken == weights.model_copy(update={"optimizer": True})
    with pytest.raises(SpecError, match=r"train\.init_from: `checkpoint` is missing"):
        load_text(EVERYTHING.replace("ckpt", "{optimizer: true}"))


def test_a_list_of_token_budgets_is_one_proxy_per_budget(load_with: LoadWith, load_text: LoadText) -> None:
    line = "nano: {tokens: [1000, 2K], global_batch_size: 2, lr: 1.0e-3}"
    proxies = load_with("nano: {tokens: 1000, global_batch_size: 2, lr: 1.0e-3}", line).train.proxies
    assert {name: (one.tokens, one.shape) for name, one in proxies.items()} == {
        "nano-1000": (1000, "nano"),
        "nano-2K": (2000, "nano"),
    }
    assert {one.min_lr for one in proxies.values()} == {Fraction(1, 10_000)}
    for old, new, message in (
        ("[1000, 2K]", "[1000, 1000]", r":13: train\.proxies\.nano: there are two proxies 'nano-1000'"),
        ("[1000, 2K]", "[]", r":13: train\.proxies\.nano\.tokens: is empty"),
        (
            "lr: 1.0e-3",
            "lr: 1.0e-3, shape: 62m, architecture: {layers: 1, hidden: 8, ffn: 8, heads: 1, kv_heads: 1, head_dim: 8}",
            r"names a shape, and the `architecture` states another one",
        ),
    ):
        with pytest.raises(SpecError, match=message):
            load_with("nano: {tokens: 1000, global_batch_size: 2, lr: 1.0e-3}", line.replace(old, new))


def test_spellings_of_the_same_spec_are_equal_and_other_shares_are_not(load_with: LoadWith) -> None:
    decimals = load_with("web: 70%, code: 20%, wiki: 10%", "wiki: 0.1, web: 0.7, code: 0.20")
    parts = load_with("{web: 70%, code: 20%, wiki: 10%}", "{parts: {web: 7, code: 2, wiki: 1}}")
    other = load_with("web: 70%, code: 20%", "web: 60%, code: 30%")
    assert decimals == parts
    assert parts != other


def test_a_loaded_spec_survives_pickling_with_its_places(small: Spec) -> None:
    again = pickle.loads(pickle.dumps(small))  # noqa: S301  our own bytes
    assert again == small
    assert again.where("train", "sequence_length").endswith("spec.yaml:11: train.sequence_length")


def test_the_spec_knows_its_folder(tmp_path: Path, base: str) -> None:
    (tmp_path / "spec.yaml").write_text(base)
    loaded = load_spec(tmp_path / "spec.yaml")
    assert (loaded.path, loaded.base) == (tmp_path / "spec.yaml", tmp_path)


def test_the_shipped_demo_loads() -> None:
    demo = load_spec(Path(__file__).parents[2] / "mixtures" / "demo.yaml").spec
    assert len(demo.sources) == 4
    assert len(demo.mixtures) == 2


WRONG = [
    ("schema: 1", "schema: 2", r":1: schema: must be 1, not 2"),
    ("name: small", "name: my spec", r":2: name: 'my spec' is not a valid name: use letters"),
    ("name: small", "name: 5", r":2: name: must be text \(put it in quotes\), not 5"),
    ("name: small", "nam: small", r":2: nam: unknown key; did you mean 'name'\?"),
    ("tokenizer: {sentencepiece: tok.model}", "", r":1: `tokenizer` is missing; add it"),
    ("tok.model}", "tok.model, train: {}}", r":7: tokenizer: needs exactly one of"),
    ('{files: "web/*.jsonl"}', "{file: x}", r":4: sources\.web\.file: unknown key; did you mean 'files'\?"),
    ('{files: "web/*.jsonl"}', "{}", r":4: sources\.web: needs exactly one of `files` and `megatron`"),
    ('{files: "web/*.jsonl"}', "5", r":4: sources\.web: must be a map, not 5"),
    ("format: code", "format: pdf", r":5: sources\.code\.format: must be 'jsonl', .*, not 'pdf'"),
    ("format: code", "split_by: {clusters: {number: 0}}", r":5: sources\.code\.split_by\.clusters\.number: 0 is not"),
    ("name: small", 'name: small\nlabels: {"a b": language}', r"'a b' is not a valid name: .* or with an underscore"),
    ("  proxies:", "  init_from: 7e210432\n  proxies:", r":12: train\.init_from: must be text"),
    ("format: code", "steps: length", r":5: sources\.code\.steps: must be a list"),
    ("format: code", "steps: [{a: 1, b: 2}]", r":5: sources\.code\.steps\[0\]: must be a step's name"),
    ("  wiki:", "  rule: {files: x}\n  wiki:", r":6: sources\.rule: 'rule' is a reserved word of the spec"),
    ("web: 70%", "web: 60%", r":9: mixtures\.main: the shares sum to 90% \(0\.9\), not to 100%.*10% is missing"),
    ("web: 70%", "web: 85.5%", r":9: mixtures\.main: the shares sum to 115\.5%.*15\.5% too much"),
    ("web: 70%", "wep: 70%", r":9: mixtures\.main\.wep: there is no source 'wep'; did you mean 'web'\?"),
    ("web: 70%", "web: 70", r":9: mixtures\.main\.web: a share must be between 0 and 1.*write 70% for a percentage"),
    ("web: 70%", "web: {share: 70%}", r":9: mixtures\.main\.web: a group needs a share, and members"),
    ("web: 70%", "g: {share: 70%, of: {code: 1}}", r":9: mixtures\.main: source 'code' has two shares"),
    ("web: 70%", "g: {share: 70%, of: {web: 100%}}", r":9: mixtures\.main\.g\.of\.web: parts must be plain numbers"),
    ("web: 70%", "g: {share: 70%, of: {web: 0}}", r":9: mixtures\.main\.g\.of: the parts sum to 0"),
    ("{web: 70%, code: 20%, wiki: 10%}", "{}", r":9: mixtures\.main: has no shares"),
    ("{web: 70%, code: 20%, wiki: 10%}", "[web]", r":9: mixtures\.main: must be a map"),
    (
        "{web: 70%, code: 20%, wiki: 10%}",
        "{rule: natural}",
        r":9: mixtures\.main\.rule: must be 'proportional', .*, not 'natural'",
    ),
    (
        "{web: 70%, code: 20%, wiki: 10%}",
        "{rule: unimax, time: {}}",
        r"main\.time: unknown key; did you mean 'times'",
    ),
    (
        "{web: 70%, code: 20%, wiki: 10%}",
        "{rule: unimax, times: {wep: 2}}",
        r"main\.times\.wep: there is no source 'wep'",
    ),
    (
        "{web: 70%, code: 20%, wiki: 10%}",
        "{rule: temperature}",
        r":9: mixtures\.main: `rule: temperature` needs",
    ),
    (
        "{web: 70%, code: 20%, wiki: 10%}",
        "{parts: {web: 1}, code: 2}",
        r":9: mixtures\.main\.code: is not allowed beside",
    ),
    ("{web: 70%, code: 20%, wiki: 10%}", "{phases: [{until: 90%, shares: {web: 1}}]}", r"the last phase ends at 90%"),
    (
        "{web: 70%, code: 20%, wiki: 10%}",
        "{phases: [{until: 1, shares: mian}]}",
        r"phases\[0\]\.shares: there is no mixture 'mian'",
    ),
    ("{web: 70%, code: 20%, wiki: 10%}", "{phases: [{until: 1, shares: main}]}", r"mixture 'main' has phases"),
    ("{web: 70%, code: 20%, wiki: 10%}", "{phases: [{until: 1}]}", r"phases\[0\]: needs exactly one of shares"),
    ("tokens: 1000", "tokens: 1000X", r":13: train\.proxies\.nano\.tokens: '1000X' is not a number of tokens"),
    ("global_batch_size: 2", "global_batch_size: 2.5", r"global_batch_size: 2\.5 is not a whole number"),
    ("lr: 1.0e-3", "lr: 1.0e-3, min_lr: 1.0e-2", r"nano\.min_lr: is above `lr`"),
    ("lr: 1.0e-3", "lr: 1.0e-3, ranks: 7", r"nano\.ranks: a global batch of .* cannot be divided among 7 ranks"),
    ("lr: 1.0e-3", "lr: 1.0e-3, ranks: 2, gpus: 0.5", r"nano\.gpus: the ranks of one run cannot share a GPU"),
    ("lr: 1.0e-3", "lr: 1.0e-3, gpus: 2", r"nano\.gpus: a share must be between 0 and 1"),
    ("lr: 1.0e-3", "lr: 1.0e-3, cpus: 1.5", r"nano\.cpus: 1.5 CPUs: above 1, Ray reserves only whole CPUs"),
    (
        "lr: 1.0e-3",
        "tokenz: 5",
        r"(?s)`lr` is missing; add it.*nano\.tokenz: unknown key; did you mean 'tokens'\?",
    ),
    ("sequence_length: 10", "document_mask: 1", r":11: train\.document_mask: must be true or false, not 1"),
    ("sequence_length: 10", "seeds: [1, 1]", r":11: train\.seeds: 1 is listed twice"),
    ("sequence_length: 10", "seeds: [-1]", r":11: train\.seeds\[0\]: -1 is not a whole number of at least 0$"),
    ("sequence_length: 10", "seeds: []", r":11: train\.seeds: is empty"),
    ("sequence_length: 10", "schedule: {wsd: {warmup: 90%}}", r"warmup and decay add up to 110% of the steps"),
    (
        "schema: 1",
        "schema: 1\ndedup: {keep: [wbe]}",
        r":2: dedup\.keep\[0\]: there is no source 'wbe'; did you mean 'web'",
    ),
    (
        "schema: 1",
        "schema: 1\ndedup: {paragraphs: {sources: [web, wbe]}}",
        r":2: dedup\.paragraphs\.sources\[1\]: there is no source 'wbe'; did you mean 'web'",
    ),
    (
        "schema: 1",
        "schema: 1\ndedup: {substrings: {sources: [wbe]}}",
        r":2: dedup\.substrings\.sources\[0\]: there is no source 'wbe'; did you mean 'web'",
    ),
    (
        "schema: 1",
        "schema: 1\ndedup: {substrings: {bytes: 40}}",
        r":2: dedup\.substrings\.bytes: 40 is not a whole .* 50, because shorter repeats are common phrases",
    ),
    ("schema: 1", "schema: 1\ndedup: {scope: {a: [web], b: [web]}}", r":2: dedup\.scope: 'web' is listed twice"),
    ("schema: 1", "schema: 1\ndedup: {scope: some}", r":2: dedup\.scope: must be 'all' or 'source', not 'some'"),
    ("schema: 1", "schema: 1\nheldout: {create: {}, from: x}", r":2: heldout: needs exactly one of"),
    ("schema: 1", "schema: 1\ndecontaminate: {overlap: 2}", r":2: decontaminate\.overlap: a share must be between"),
    (
        "schema: 1",
        "schema: 1\ntarget: {tokens: 1T, max_epochs: {wbe: 2}}",
        r":2: target\.max_epochs\.wbe: there is no source",
    ),
    (
        "schema: 1",
        "schema: 1\nexternal: {questions: {quiz: q.jsonl}}\nobjective: {tasks: {quizz: 1}}",
        r":3: objective\.tasks\.quizz: is not in .*did you mean 'quiz'\?",
    ),
    (
        "schema: 1",
        "schema: 1\nexternal: {questions: {quiz: q.jsonl}}\nobjective: {tasks: {quiz: {score: f1}}}",
        r":3: objective\.tasks\.quiz\.score: ",
    ),
    (
        "schema: 1",
        "schema: 1\nobjective: {heldout_bpb: {web: 1}, anchor: no}",
        r":2: objective\.anchor: there is no mixture",
    ),
    ("schema: 1", "schema: 1\nobjective: {heldout_bpb: {web: 1}, force: [wb]}", r":2: objective\.force.*is not in the"),
    ("schema: 1", "schema: 1\nobjective: {heldout_bpb: {web: 0}}", r":2: objective\.heldout_bpb: all weights are 0"),
    (
        "schema: 1",
        "schema: 1\nobjective: {score: margin, heldout_bpb: {web: 1}}",
        r":2: objective: needs exactly one of",
    ),
    (
        "schema: 1",
        "schema: 1\nobjective: {score: margin}",
        r":2: objective\.score: runs of stage pretrain have no margin",
    ),
    (
        "schema: 1",
        "schema: 1\nobjective: {score: loss, sources: {wbe: 1}}",
        r"objective\.sources\.wbe: there is no source",
    ),
    ("schema: 1", "schema: 1\nobjective: {score: loss, attribute: tone}", r"loss is not a score of an attribute"),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
def test_what_is_wrong_is_said_with_line_key_and_the_way_out(
    old: str, new: str, said: str, load_with: LoadWith
) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        load_with(old, new)
    assert all("spec.yaml" in line for line in str(caught.value).splitlines())
    assert caught.value.exit_code == 2


def test_all_problems_are_said_at_once_in_the_order_of_the_file(load_text: LoadText, base: str) -> None:
    text = base.replace("name: small", "name: 5").replace("tokens: 1000", "tokens: x")
    with pytest.raises(SpecError) as caught:
        load_text(text)
    first, second = str(caught.value).splitlines()
    assert ":2: name:" in first
    assert ":13: train.proxies.nano.tokens:" in second


def test_an_error_in_a_parent_file_names_the_parent(tmp_path: Path, base: str) -> None:
    (tmp_path / "base.yaml").write_text(base.replace("web: 70%", "web: 60%"))
    (tmp_path / "child.yaml").write_text("extends: base.yaml\nname: child\n")
    with pytest.raises(SpecError, match=r"base\.yaml:9: mixtures\.main"):
        load_spec(tmp_path / "child.yaml")


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ("[1e-3]", "lr.sweep: needs at least 2 entries, and has 1"),
        ("[]", "lr.sweep: is empty; give at least one entry"),
        ("[1e-3, -2e-3]", "lr.sweep[1]: -0.002 is negative"),
        ("[1e-3, 1e-3]", "lr.sweep: '0.001' is listed twice; remove one"),
        ("fast", "lr.sweep: must be a list, not 'fast'"),
    ],
)
def test_a_wrong_sweep_of_rates_is_one_sentence_about_the_entry(tmp_path: Path, rates: str, message: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        "schema: 1\nname: t\nsources: {c: {files: c.jsonl}}\ntokenizer: {train: {vocab_size: 300}}\n"
        "mixtures: {m: {c: 100%}}\ntrain:\n  sequence_length: 64\n  proxies:\n"
        f"    nano: {{tokens: 5120, global_batch_size: 8, lr: {{sweep: {rates}}}}}\n"
    )
    with pytest.raises(SpecError) as raised:
        load_spec(path)
    assert str(raised.value) == f"{path}:9: train.proxies.nano.{message}"
