"""Quantities of a spec: tokens and bytes as integers, shares and decimals as exact fractions.

A spec is read without floats: `0.7` and `70%` are both exactly seven tenths, so equal specs have equal
fingerprints, and shares sum to exactly 1 or are rejected. Suffixes are decimal: K, M, B, T for tokens and
KB, MB, GB, TB for bytes. Every type is serialized in one exact form (`exact_string`). A float passed from
Python is read as the shortest decimal that gives it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

TOKEN_SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
BYTE_SUFFIXES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
MAX_EXPONENT = 30
"""Largest exponent, positive or negative: `1e999999999` would use all memory."""
MAX_DIGITS = 60
"""Most digits of a fraction's numerator or denominator."""
MAX_COUNT = 10**18
"""Most tokens or bytes: positions are 64-bit integers."""

MAX_INT32 = 2**31 - 1
INT32 = "counts like this one are 32-bit integers"

_NUMBER = r"[0-9](?:_?[0-9])*"
_COUNT = re.compile(rf"({_NUMBER}(?:\.{_NUMBER})?)\s*([A-Za-z]*)")
_RATIO = re.compile(rf"({_NUMBER})/({_NUMBER})")


def parse_number(value: object) -> Fraction:
    """Return the exact value of an integer, a decimal, or a string such as `0.7`, `3.0e-4`, `70%` or `1/3`.

    Raises:
        ValueError: for anything else, including negative numbers, NaN and infinities.

    """
    if isinstance(value, str):
        return _parse_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | Fraction):
        raise ValueError(f"{value!r} is not a number")
    if isinstance(value, int | Fraction):
        return _checked(Fraction(value), value)
    return parse_decimal(Decimal(repr(value)) if isinstance(value, float) else value)


def parse_share(value: object) -> Fraction:
    """Parse a share in [0, 1]: `70%` or `0.7`.

    Raises:
        ValueError: when it is not a number or is outside [0, 1].

    """
    number = parse_number(value)
    if number > 1:
        percent = f"; write {value}% for a percentage" if _is_plain_number(value) and number <= 100 else ""
        raise ValueError(f"a share must be between 0 and 1 (0% and 100%), not {value}{percent}")
    return number


def parse_positive(value: object) -> Fraction:
    """Parse an exact number above zero.

    Raises:
        ValueError: when it is not a number or is not above zero.

    """
    number = parse_number(value)
    if number == 0:
        raise ValueError("must be above 0")
    return number


def parse_whole(
    value: object, least: int = 1, most: int = MAX_INT32, reason: str = INT32, least_reason: str = ""
) -> int:
    """Parse a whole number between two bounds.

    Args:
        value: as written.
        least: smallest allowed value.
        most: largest allowed value.
        reason: why it is the largest, for the error.
        least_reason: why it is the smallest, for the error.

    Raises:
        ValueError: when it is anything else.

    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(f"{value!r} is not a whole number")
    if isinstance(value, Decimal):
        value = parse_decimal(value)
        if value.denominator != 1:
            raise ValueError(f"{exact_string(value)} is not a whole number")
    if value < least:
        because = f", because {least_reason}" if least_reason else ""
        raise ValueError(f"{value} is not a whole number of at least {least}{because}")
    if value > most:
        raise ValueError(f"{value} is too large; at most {most:,} is possible, because {reason}")
    return int(value)


def parse_tokens(value: object) -> int:
    """Parse a positive number of tokens: `10T`, `1.5B`, `2_000`, 1000.

    Raises:
        ValueError: when it is not a whole number above zero.

    """
    return _parse_count(value, TOKEN_SUFFIXES, "tokens", "1000, 2_000, 100M, 1.5B or 10T")


def parse_bytes(value: object) -> int:
    """Parse a positive number of bytes: `200MB`, `1.5GB`, 1000.

    Raises:
        ValueError: when it is not a whole number above zero.

    """
    return _parse_count(value, BYTE_SUFFIXES, "bytes", "1000, 64KB, 200MB or 1.5GB")


def exact_string(number: Fraction) -> str:
    """The one exact spelling of a number: `4`, `0.7`, `0.0003`, or `1/3` when no finite decimal exists."""
    if number.denominator == 1:
        return str(number.numerator)
    remaining, twos, fives = number.denominator, 0, 0
    while remaining % 2 == 0:
        remaining, twos = remaining // 2, twos + 1
    while remaining % 5 == 0:
        remaining, fives = remaining // 5, fives + 1
    if remaining != 1:
        return f"{number.numerator}/{number.denominator}"
    decimals = max(twos, fives)
    digits = str(abs(number.numerator) * 10**decimals // number.denominator).rjust(decimals + 1, "0")
    return f"{'-' if number < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"


def percent_string(share: Fraction) -> str:
    """A share for people, such as `70%`, with at most six significant digits; `~` marks rounded ones."""
    percent = share * 100
    exact = exact_string(percent)
    if "/" not in exact and len(exact) <= 9:
        return f"{exact}%"
    return f"~{float(percent):.6g}%"


def _parse_text(text: str) -> Fraction:
    if text.endswith("%"):
        number = text[:-1].strip()
        if number.endswith("%"):
            raise ValueError(f"{text!r} is not a number")
        return _parse_text(number) / 100
    if match := _RATIO.fullmatch(text):
        numerator, denominator = (int(part) for part in match.groups())
        if denominator == 0:
            raise ValueError(f"{text!r} divides by zero")
        return _checked(Fraction(numerator, denominator), text)
    try:
        return parse_decimal(Decimal(text))
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number") from None


def parse_decimal(number: Decimal) -> Fraction:
    """Return the exact value of a decimal.

    Raises:
        ValueError: for negative numbers, NaN, infinities, and numbers beyond `MAX_EXPONENT`.

    """
    if not number.is_finite() or (number and abs(number.adjusted()) > MAX_EXPONENT):
        raise ValueError(f"{number} is too large, too small or not finite")
    return _checked(Fraction(number), number)


def _checked(number: Fraction, written: object) -> Fraction:
    if number < 0:
        raise ValueError(f"{written} is negative")
    if number >= 10 ** (MAX_EXPONENT + 1):
        raise ValueError(f"{written} is too large; at most 1e{MAX_EXPONENT} is possible")
    if max(number.numerator, number.denominator) >= 10**MAX_DIGITS:
        raise ValueError(f"{written} has too many digits; at most {MAX_DIGITS} are possible")
    return number


def _is_plain_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) or (isinstance(value, str) and "%" not in value)


def _parse_count(value: object, suffixes: dict[str, int], unit: str, examples: str) -> int:
    shown = repr(value) if isinstance(value, str) else value
    wrong = ValueError(f"{shown} is not a number of {unit}; write it as {examples}")
    if isinstance(value, str):
        match = _COUNT.fullmatch(value.strip())
        if match is None or match[2].upper() not in suffixes:
            raise wrong
        number = Fraction(Decimal(match[1])) * suffixes[match[2].upper()]
    else:
        try:
            number = parse_number(value)
        except ValueError:
            raise wrong from None
    if number.denominator != 1:
        raise ValueError(f"{value} is {exact_string(number)} {unit}, not a whole number of them")
    if number == 0:
        raise ValueError(f"0 {unit} are not allowed: remove the key, or give at least 1")
    if number > MAX_COUNT:
        raise ValueError(f"{value} is too large; at most {MAX_COUNT:,} {unit} are possible")
    return number.numerator


def _schema(description: str, pattern: str) -> WithJsonSchema:
    forms = [{"type": "number", "minimum": 0}, {"type": "string", "pattern": pattern}]
    return WithJsonSchema({"description": description, "anyOf": forms})


def _exact(parse: Callable[[object], Fraction]) -> tuple[PlainValidator, PlainSerializer]:
    return PlainValidator(parse), PlainSerializer(exact_string, return_type=str)


_DECIMAL_PATTERN = r"^[0-9][0-9_]*(\.[0-9_]+)?([eE][-+]?[0-9]+)?(/[0-9_]+)?%?$"
SHARE_PATTERN = (
    r"^(100(\.0*)?|[0-9]{1,2}(\.[0-9_]*)?)\s*%$"  # 70%
    r"|^[0-9][0-9_]*/[0-9][0-9_]*$"  # 7/10
    r"|^(0?\.[0-9][0-9_]*([eE]-?[0-9]+)?|[01](\.0*)?|[0-9](\.[0-9_]+)?[eE]-[0-9]+)$"  # 0.7, 7e-1
)
SHARE_FORMS = [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": SHARE_PATTERN}]
"""A share as JSON Schema: a number from 0 to 1, a percentage up to 100%, or a fraction."""
_PLAIN_PATTERN = r"^[0-9][0-9_]*(\.[0-9_]+)?\s*({})?$"

TokenCount = Annotated[
    int,
    PlainValidator(parse_tokens),
    _schema("Tokens: 1000, 2_000, 100M, 1.5B or 10T (decimal suffixes)", _PLAIN_PATTERN.format("[KMBTkmbt]")),
]
ByteCount = Annotated[
    int,
    PlainValidator(parse_bytes),
    _schema("Bytes: 1000, 64KB, 200MB or 1.5GB (decimal suffixes)", _PLAIN_PATTERN.format("[KMGTkmgt]?[Bb]")),
]
Share = Annotated[
    Fraction,
    *_exact(parse_share),
    WithJsonSchema({"description": "A share: 70%, 0.7 or 7/10", "anyOf": SHARE_FORMS}),
]
ExactNumber = Annotated[Fraction, *_exact(parse_number), _schema("A number: 0.1, 3.0e-4 or 1/3", _DECIMAL_PATTERN)]
PositiveNumber = Annotated[Fraction, *_exact(parse_positive), _schema("Above 0: 0.1, 3.0e-4 or 1/3", _DECIMAL_PATTERN)]


def _signed(value: object) -> Fraction:
    """Parse a number that may be negative."""
    if isinstance(value, str) and value.strip().startswith("-"):
        return -parse_number(value.strip()[1:])
    if isinstance(value, int | float | Fraction | Decimal) and value < 0:
        return -parse_number(-value)
    return parse_number(value)


SignedNumber = Annotated[
    Fraction,
    PlainValidator(_signed),
    PlainSerializer(lambda value: ("-" if value < 0 else "") + exact_string(abs(value)), when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]"}]}),
]
