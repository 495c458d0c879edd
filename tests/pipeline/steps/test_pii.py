"""Personal data and secrets: what is found, what only looks like it, and how it is counted."""

from __future__ import annotations

import time

import pytest

from mixproof.mixtures.blocks.source import Step
from mixproof.pipeline.record import Raw
from mixproof.pipeline.steps import make_steps
from mixproof.pipeline.steps.apply import apply_steps
from mixproof.pipeline.steps.formatters.account_numbers import (
    find_credit_cards,
    find_ibans,
    luhn,
    remainder_of_iban,
)
from mixproof.pipeline.steps.formatters.phone_numbers import find_phone_numbers
from mixproof.pipeline.steps.formatters.pii import FINDERS
from mixproof.pipeline.steps.formatters.secret_keys import find_secrets

KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{'MIIEowIBAAKCAQEA' * 8}\n-----END RSA PRIVATE KEY-----"
AWS = "AKIA" + "Q3EGRIPL7XNW2ZTB"
GITHUB = "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8"
EVERY = dict.fromkeys(FINDERS, "replace")


def run(text: str, **options: str) -> tuple[str | None, dict[str, int], list[str]]:
    """The text after `pii`, how often each kind was replaced, and the reasons for dropping it."""
    (step,) = make_steps([Step(name="pii", options=options)])
    data = apply_steps(Raw(0, None, text), text.encode(), [step])
    row = step.row().check()
    return None if data is None else data.decode(), row.replaced, list(row.dropped)


def found(finder: str, text: str) -> list[str]:
    return [text[start:end] for start, end in FINDERS[finder](text)]


@pytest.mark.parametrize(
    "number",
    [
        "+1 202-555-0143",
        "+49 (0)30 901820",
        "+44 20 7946 0958",
        "(202) 234-1530",
        "202-555-0143",
        "1-800-555-0199",
        "212.555.0123",
        "[43] (1) 31339-0",
        "030 / 12 34 56 78",
        "(202) 555 0143",
        "+1 (617) 573-5591/3747",
    ],
)
def test_telephone_numbers_are_found_whole(number: str) -> None:
    assert found("phone_number", f"Telephone: {number}, ask for Ann.") == [number]


@pytest.mark.parametrize(
    "text",
    [
        "from 1990-2005, 12 345 678 of 1.234.567 people",
        "ISBN 978-3-16-148410-0 and arXiv 2101.00001",
        "192.168.100.200 at 2020-01-15 12:30:59",
        "x = 2025550143; y = 0.2025550143; id=202-555-0143",
        "pages 100-2000, section 31-5331.01(a), 5.8 + 333 444 555 666",
        "1 2 3 4 5 6 7 8 9 10 11 12",
        "Windows Phone 8.10.14219.341, firmware 310.200.3456, version: 212.555.0123",
        "ISBN-10: 202-555-0143; invoice no. 212-555-0199; section 201.345.6789; § 201-345-6789",
        "call 2024-01-15; dial 12.05.2021; phone 2020-12-31; fax 2000 1999 1998; ph 7.35 7.45 7.25",
        "+10 000 000 000 dollars, +44 000 000 000, +1234567890",
        "call 1-800-565-EXIM",
    ],
)
def test_other_runs_of_digits_are_no_telephone_numbers(text: str) -> None:
    assert found("phone_number", text) == []


def test_brackets_say_more_than_the_word_before() -> None:
    assert found("phone_number", "the sales section (202) 555-0143") == ["(202) 555-0143"]


@pytest.mark.parametrize("words", ["my telephone number is ", "call us on ", "电话：", "Fax: "])
def test_a_word_before_it_makes_a_number_without_a_form_of_its_own_one(words: str) -> None:
    assert found("phone_number", f"{words}020 7946 0958.") == ["020 7946 0958"]


def test_cards_need_a_prefix_a_length_and_a_check_digit() -> None:
    assert luhn("79927398713") and not luhn("79927398710")
    for number in ("4111 1111 1111 1234", "4012-8888-8888-1881", "378282246310005", "5555 5555 5555 4444"):
        digits = number.replace(" ", "").replace("-", "")
        assert (found("credit_card", f"card {number}.") == [number]) == luhn(digits), number
    assert found("credit_card", "4111 1111 1111 1111 and not 4111 1111 1111 1112") == ["4111 1111 1111 1111"]
    assert found("credit_card", "4012 8888 8888 1882, 9012 8888 8888 1886, 40128888 88881881") == []
    assert found("credit_card", "order 40128888888818811234567890, x=4012888888881881") == []


def test_ibans_need_the_length_of_their_country_and_a_remainder_of_one() -> None:
    assert remainder_of_iban("GB82WEST12345698765432") == 1
    text = "pay to GB82 WEST 1234 5698 7654 32 OR DE89370400440532013000, not DE88370400440532013000 or XX82WEST1234"
    assert found("iban", text) == ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000"]


def test_keys_are_found_by_their_prefixes_and_examples_are_none() -> None:
    assert found("secret", f"aws_key = {AWS}\ntoken: '{GITHUB}'\n{KEY}\n") == [AWS, GITHUB, KEY]
    harmless = ["AKIAIOSFODNN7EXAMPLE", "ghp_short", "sk_live_" + "x" * 24, "task-force", "-----BEGIN CERTIFICATE-----"]
    assert found("secret", " ".join(harmless)) == []
    assert found("secret", "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----") == []


def test_kinds_are_replaced_or_dropped_as_declared_and_counted() -> None:
    text = f"Mail a@b.org, call 202-555-0143 or (202) 234-1530; key {AWS}"
    edited = "Mail email@example.com, call <PHONE_NUMBER> or <PHONE_NUMBER>; key <SECRET>"
    assert run(text, **EVERY) == (edited, {"email": 1, "phone_number": 2, "secret": 1}, [])
    assert run(text, **EVERY | {"secret": "drop"}) == (None, {}, ["pii_secret"])
    assert run(text) == (text.replace("a@b.org", "email@example.com"), {}, [])


@pytest.mark.parametrize(
    "unit", ["1 ", "(1", "+1 (", "AB12 ", "4012 ", "-----BEGIN PRIVATE KEY-----\n", "sk-a", "1-", "[1] "]
)
def test_the_time_grows_with_the_text_and_not_with_its_square(unit: str) -> None:
    def seconds(text: str) -> float:
        start = time.process_time()
        for find in (find_phone_numbers, find_credit_cards, find_ibans, find_secrets):
            list(find(text))
        return time.process_time() - start

    short, long = unit * 20_000, unit * 160_000
    seconds(short)
    assert seconds(long) < 40 * max(seconds(short), 0.005)
