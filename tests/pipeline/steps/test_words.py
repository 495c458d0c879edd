"""Words and sentences: exactly datatrove's, however they are found."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from datatrove.utils.word_tokenizers import load_word_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from mixproof.pipeline.steps.segmentation import splitter as splitter_module
from mixproof.pipeline.steps.segmentation.memo import MemoSplitter
from mixproof.pipeline.steps.segmentation.splitter import Words
from mixproof.pipeline.steps.segmentation.vocabulary import ALPHA, BASE, ENDS, PUNCTUATION, SYMBOL, Growing, Vocabulary
from mixproof.pipeline.steps.segmentation.words import NoWordsError, splitter_of

PIECES = (
    "word", "Word", "WORD", "iPhone", "naïve", "слово", "Мир", "don't", "can't", "cannot", "Mr.", "U.S.", "a.m.",
    "10km", "e.g.", ":-)", "):", "xD", "http://x.y/z?a=1", "foo@bar.com", "...", "'s", "’s", "$5", "US$", "½", "日本",
    "(", "[", '"', "“", "”", ".", ",", "!", "?", "-", "--", "—", "well-known", "A-b", "l'eau", "C++", "<3", "1,160",
    "3.14.", "8)", "50%", "**bold**", "[1]", "\x00", "_x_", "IS_ALPHA",
)  # fmt: skip
SPACES = (" ", "  ", "\n", "\n\n", "\t", "\u00a0", "\u3000", "\u2009", "\x85", "\u2028", "\x1c", "", " ", " ")


def spell(words: Words) -> list[str]:
    known = {number: word for word, number in words.vocabulary._id_of.items()}
    return [known[number] for number in words.ids.tolist()]


texts = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(SPACES)), min_size=1, max_size=14).map(
    lambda pairs: "".join(piece + space for piece, space in pairs)
)


@settings(max_examples=70)
@given(texts, st.sampled_from(["en", "de", "fr"]))
def test_any_text_has_the_words_and_the_sentences_that_datatrove_finds(text: str, language: str) -> None:
    theirs = load_word_tokenizer({"en": "eng", "de": "deu", "fr": "fra"}[language])
    theirs.word_tokenize("IS_ALPHA IS_ALPHA")  # from the second on it is left out, see below
    splitter = splitter_of(language)
    assert spell(splitter.words(text)) == theirs.word_tokenize(text)
    line = text.replace("\n", " ")
    assert splitter.sentences(line) == max(1, len(theirs.span_tokenize(line)))
    assert "".join(splitter.split_sentences(line)) == line


def test_real_text_has_the_words_and_the_sentences_that_datatrove_finds(manual: list[str]) -> None:
    theirs, splitter = load_word_tokenizer("eng"), splitter_of("en")
    assert isinstance(splitter, MemoSplitter)
    for text in manual:
        assert spell(splitter.words(text)) == theirs.word_tokenize(text)
        assert splitter.sentences(text) == len(theirs.span_tokenize(text))


def test_the_memo_is_bounded_and_what_is_forgotten_changes_no_word_and_no_sentence(
    manual: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = splitter_of("en")
    expected = [(spell(free.words(text)), free.sentences(text)) for text in manual[:12]]
    bounded = MemoSplitter(load_word_tokenizer("eng"))
    monkeypatch.setattr(splitter_module, "splitters", {bounded})
    monkeypatch.setattr(splitter_module, "MAX_CHUNKS", 300)
    monkeypatch.setattr(splitter_module, "WEIGHED_CHARS", 0)
    for text, (words, sentences) in zip(manual, expected, strict=False):
        found = bounded.words(text)
        assert (spell(found), bounded.sentences(text, found)) == (words, sentences)
        assert bounded.size()[0] <= 300 + len(set(text.split()))
    assert "the" in {*bounded._memo, *bounded._memo.older}  # every text has it


def test_a_check_loads_no_spacy_and_splitting_by_rules_no_torch() -> None:
    code = (
        "import sys\n"
        "from mixproof.pipeline.steps.segmentation.words import BY_RULES, MemoSplitter, check_splitter, splitter_of\n"
        "for language in BY_RULES:\n    check_splitter(language)\n"
        "assert 'spacy' not in sys.modules\n"
        "assert all(isinstance(splitter_of(language), MemoSplitter) for language in BY_RULES)\n"
        "assert 'spacy' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=True)


def test_words_from_before_the_memo_forgot_are_not_taken_for_chunks_of_the_new_one() -> None:
    splitter = MemoSplitter(load_word_tokenizer("eng"))
    text = "Four words. Two more. And here (yes) is the last one."
    before = splitter.words(text)
    splitter.shrink()
    splitter.words("Another text comes first now.")
    assert splitter.sentences(text, before) == splitter.sentences(text) == 3


def test_a_line_has_the_sentences_of_its_own_chunks_wherever_it_stands() -> None:
    splitter = splitter_of("en")
    lines = ["A title", "One. Two (more). Three!", "", "Last. One."]
    words = splitter.words("\n".join(lines))
    assert [splitter.sentences(lines[1], words, first=2), splitter.sentences(lines[3], words, first=6)] == [3, 2]


def test_a_word_on_which_spacy_fails_goes_as_it_does_in_datatrove() -> None:
    theirs, splitter = load_word_tokenizer("eng"), splitter_of("en")
    theirs.word_tokenize("IS_ALPHA IS_ALPHA")  # from the second on spaCy fails
    for text in (
        "word IS_ALPHA end. (IS_ALPHA) And xIS_ALPHA.",
        "an xIS_ALPHA, THIS_ALPHA",
        "IS_ALPHA",
        "IS_ALPHA. Ha.",
    ):
        assert spell(splitter.words(text)) == theirs.word_tokenize(text)
        assert splitter.sentences(text, splitter.words(text)) == max(1, len(theirs.span_tokenize(text)))


def test_a_text_without_words_has_none_and_counts_as_one_sentence() -> None:
    splitter = splitter_of("en")
    assert [len(splitter.words(text)) for text in ("", " ", "\n\t\u3000")] == [0, 0, 0]
    assert splitter.sentences("") == 1


def test_white_space_beyond_a_space_is_a_token_that_ends_the_wait_for_a_sentence() -> None:
    splitter = splitter_of("en")
    assert splitter.sentences("One. Two.") == 2
    assert splitter.sentences("One. (Two.) Three") == 3  # the bracket still belongs to the first
    assert splitter.sentences("One.  (Two.) Three") == splitter.sentences("One.\t(Two.) Three") == 3
    assert (splitter.sentences("One. )"), splitter.sentences("One.  )")) == (1, 2)


def test_languages_go_by_the_codes_of_lid_176_and_by_three_letters() -> None:
    assert spell(splitter_of("deu").words("LDAP-Server, z.B. hier.")) == spell(
        splitter_of("de").words("LDAP-Server, z.B. hier.")
    )
    assert spell(splitter_of("de").words("LDAP-Server")) == ["LDAP-Server"]
    assert spell(splitter_of("en").words("LDAP-Server")) == ["LDAP", "-", "Server"]


def test_a_language_that_nothing_splits_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(NoWordsError, match="'englsh'.*does not know this language; use a code of two or three letters"):
        splitter_of("englsh")
    with pytest.raises(NoWordsError, match="'bo'.*pip install botok"):
        splitter_of("bo")


def test_a_vocabulary_knows_what_the_steps_ask_of_a_word() -> None:
    vocabulary = Vocabulary(frozenset({".", "!"}))
    words = ["abc", "a1", "42", "--", ".", "…", "$", "日本", "abc"]
    assert vocabulary.ids_of(words) == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    assert vocabulary.lengths.tolist() == [3, 2, 2, 2, 1, 1, 1, 2]
    assert vocabulary.flags.tolist() == [
        ALPHA, ALPHA, 0, SYMBOL | PUNCTUATION, SYMBOL | PUNCTUATION | ENDS, SYMBOL | PUNCTUATION, SYMBOL, ALPHA,
    ]  # fmt: skip
    assert (vocabulary.find("42"), vocabulary.find("43"), vocabulary.chars) == (2, None, 14)


def test_hashes_of_words_add_up_to_the_hash_of_their_letters() -> None:
    vocabulary = Vocabulary()
    vocabulary.ids_of(["ab", "c", "abc", "bc", "a"])
    ab, c, abc, bc, a = (int(value) for value in vocabulary.hashes)
    assert abc == (ab + c * BASE**2) % 2**64 == (a + bc * BASE) % 2**64
    assert len({ab, c, abc, bc, a}) == 5


def test_a_view_of_a_growing_array_stays_good() -> None:
    growing = Growing(np.int32)
    growing.extend([1, 2, 3])
    view = growing.array
    growing.extend(list(range(5000)))
    assert view.tolist() == [1, 2, 3]
    assert (len(growing), growing.array[:5].tolist()) == (5003, [1, 2, 3, 0, 1])
