"""What decontamination finds: questions planted verbatim and edited, and what it drops of a corpus without them.

    python benchmarks/decontamination.py QUESTIONS.jsonl[.gz] FOLDER [FOLDER ...] [--ngrams 13 8 5] [--planted 1000]

Each line of QUESTIONS has `messages`, whose user turn is a question, or a field `question`. Each is planted in the
middle of a document of the FOLDERs, in ten forms: verbatim; reformatted (lower case, without punctuation, one word a
line); truncated to its first 80%; with one word or two replaced, inserted, deleted; with one word in twenty or in ten
replaced; with a word inserted after every twentieth; and paraphrased by a list of synonyms. Recall is the share of
planted documents that are found. Then the documents without planted questions are searched; each one that is found is
printed with its match, to be read. At the end both is done with the defaults of a spec.
"""

from __future__ import annotations

import argparse
import gzip
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import orjson

from dedup import texts_of
from mixproof.mixtures.blocks.heldout import Decontaminate
from mixproof.pipeline.heldout.overlap import Match, build_index, find_all_overlaps
from mixproof.pipeline.heldout.questions import build_questions, find_questions

SYNONYMS = {
    "how many": "what number of", "altogether": "in total", "each": "every", "buys": "purchases", "bought": "purchased",
    "gives": "hands", "gave": "handed", "makes": "produces", "then": "afterwards", "total": "whole", "if": "when",
    "sells": "trades", "sold": "traded", "needs": "requires", "wants": "wishes", "also": "too", "left": "remaining",
    "write": "compose", "given": "provided", "following": "next", "list": "series", "find": "determine",
    "money": "cash", "big": "large", "small": "little", "start": "begin", "began": "started", "house": "home",
}  # fmt: skip
LEAST_WORDS = 8
BATCH = 512


def verbatim(question: str, _: random.Random) -> str:
    """The question."""
    return question


def reformatted(question: str, _: random.Random) -> str:
    """Lower case, no punctuation, one word a line."""
    return "\n".join(re.findall(r"\w+", question.lower()))


def truncated(question: str, _: random.Random) -> str:
    """The first 80% of the words."""
    words = question.split()
    return " ".join(words[: max(1, len(words) * 4 // 5)])


def _replaced(question: str, chance: random.Random, every: int) -> str:
    words = question.split()
    for index in chance.sample(range(len(words)), max(1, len(words) // every)):
        words[index] = f"word{chance.randrange(1000)}"
    return " ".join(words)


def replaced_5(question: str, chance: random.Random) -> str:
    """One word in twenty is another one, at least one."""
    return _replaced(question, chance, 20)


def replaced_10(question: str, chance: random.Random) -> str:
    """One word in ten is another one, at least one."""
    return _replaced(question, chance, 10)


def inserted(question: str, chance: random.Random) -> str:
    """A word more after every twentieth."""
    words = question.split()
    for index in range(chance.randrange(min(20, len(words))), len(words), 20):
        words[index] += " really"
    return " ".join(words)


def paraphrased(question: str, _: random.Random) -> str:
    """Synonyms."""
    for word, other in SYNONYMS.items():
        question = re.sub(rf"\b{word}\b", other, question, flags=re.IGNORECASE)
    return question


def one_replaced(question: str, chance: random.Random) -> str:
    """One word is another one."""
    return _replaced(question, chance, len(question.split()))


def one_inserted(question: str, chance: random.Random) -> str:
    """A word more."""
    words = question.split()
    words.insert(chance.randrange(len(words)), "really")
    return " ".join(words)


def two_deleted(question: str, chance: random.Random) -> str:
    """Two words less."""
    words = question.split()
    for _ in range(2):
        del words[chance.randrange(len(words))]
    return " ".join(words)


EDITS: Sequence[Callable[[str, random.Random], str]] = (
    verbatim,
    reformatted,
    truncated,
    one_replaced,
    one_inserted,
    two_deleted,
    replaced_5,
    inserted,
    replaced_10,
    paraphrased,
)


def questions_of(path: Path) -> Iterator[str]:
    """The questions of a file that have at least LEAST_WORDS words."""
    data = path.read_bytes()
    for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines():
        record = orjson.loads(line)
        turns = [turn["content"] for turn in record.get("messages", ()) if turn["role"] == "user"]
        question = record.get("question") or next(iter(turns), "")
        if len(question.split()) >= LEAST_WORDS:
            yield question


def planted_in(document: str, question: str) -> str:
    """The document with the question in its middle."""
    middle = document.find("\n", len(document) // 2)
    at = middle if middle >= 0 else len(document) // 2
    return f"{document[:at]}\n{question}\n{document[at:]}"


Search = Callable[[Sequence[str]], dict[int, list[Match]]]


def by_ngrams(questions: Sequence[str], ngram: int, overlap: Fraction) -> Search:
    """Search for n-grams of one length."""
    index = build_index(questions, ngram, 0)
    return lambda documents: find_all_overlaps(index, documents, overlap)


def by_defaults(questions: Sequence[str]) -> Search:
    """Search as a build does whose only setting is `against`."""
    rules = Decontaminate()
    assert rules.questions is not False, "a default"
    long, short, overlap = (
        by_ngrams(questions, rules.ngram, rules.overlap),
        rules.questions.ngram,
        rules.questions.overlap,
    )
    index = build_questions(questions, short)
    return lambda documents: find_questions(index, documents, overlap) | long(documents)


def found_in(search: Search, documents: Sequence[str]) -> dict[int, tuple[int, Fraction]]:
    """The documents that are found: the number of the best question, and the share of shared n-grams."""
    found: dict[int, tuple[int, Fraction]] = {}
    for first in range(0, len(documents), BATCH):
        for row, matches in search(documents[first : first + BATCH]).items():
            found[first + row] = (matches[0].text, matches[0].share)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--ngrams", nargs="+", type=int, default=[13, 8, 5])
    parser.add_argument("--overlap", type=Fraction, default=Fraction(1, 2))
    parser.add_argument("--planted", type=int, default=1000)
    parser.add_argument("--most-chars", type=int, default=20_000)
    asked = parser.parse_args()
    documents = [text[: asked.most_chars] for folder in asked.folders for text in texts_of(folder)]
    questions = list(questions_of(asked.questions))
    chance = random.Random(0)  # noqa: S311  a benchmark
    chosen = chance.sample(range(len(questions)), min(asked.planted, len(questions)))
    hosts = chance.choices(documents, k=len(chosen))
    print(f"{len(questions)} questions, {len(chosen)} planted; {len(documents)} documents without them")
    for ngram in (*asked.ngrams, None):
        search = by_defaults(questions) if ngram is None else by_ngrams(questions, ngram, asked.overlap)
        name = "defaults" if ngram is None else f"ngram {ngram:2}"
        for edit in EDITS:
            texts = [
                planted_in(host, edit(questions[number], chance)) for host, number in zip(hosts, chosen, strict=True)
            ]
            found = found_in(search, texts)
            right = sum(
                questions[found[row][0]] == questions[number] for row, number in enumerate(chosen) if row in found
            )
            print(
                f"{name}  {edit.__name__:12} recall {len(found) / len(chosen):.3f}, "
                f"by its own question {right / len(chosen):.3f}"
            )
        start = time.process_time()
        found = found_in(search, documents)
        seconds = time.process_time() - start
        size = sum(len(text.encode()) for text in documents) / 1e6
        print(f"{name}  without planted questions: {len(found)} found, {size / seconds:.0f} MB/s of CPU")
        for row, (text, share) in sorted(found.items())[:60]:
            words = " ".join(documents[row].split())
            print(f"    {float(share):.2f}  {questions[text][:160]!r}\n          {words[:160]!r}")


if __name__ == "__main__":
    main()
