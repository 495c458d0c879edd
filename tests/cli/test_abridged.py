"""Long lists for people: the largest are shown, and one line stands for all others."""

from __future__ import annotations

from mixproof.cli.abridged import MOST_ROWS, first_sentences, largest, others_name


def test_the_largest_are_shown_in_the_given_order_and_the_others_are_counted() -> None:
    sizes = {f"s{number:04d}": (number * 7919) % 2003 for number in range(2000)}

    shown, others = largest(sizes)

    assert len(shown) == MOST_ROWS
    assert shown == sorted(shown)
    assert sorted([*shown, *others]) == sorted(sizes)
    assert min(sizes[name] for name in shown) >= max(sizes[name] for name in others)
    assert others_name(others) == "1,960 smaller ones"


def test_nothing_is_left_out_where_a_line_would_be_saved_only_to_say_so() -> None:
    assert largest({f"s{number}": number for number in range(MOST_ROWS + 1)})[1] == []
    assert len(largest({f"s{number}": number for number in range(MOST_ROWS + 2)})[1]) == 2


def test_sentences_after_the_tenth_are_counted() -> None:
    assert list(first_sentences(f"sentence {number}" for number in range(10)))[-1] == "sentence 9"
    assert list(first_sentences(f"sentence {number}" for number in range(12)))[-2:] == [
        "sentence 9",
        "the same holds for 2 more",
    ]
