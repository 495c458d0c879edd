"""Find telephone numbers: international ones, North American ones, and any other after a word such as `Tel`.

A run of digits is a number only with one of these marks, because most runs of digits are not: a plus sign with a known
country code, the grouping and the digits that the North American plan allows, or the word before it. A word such as
`version` or `ISBN` before it rules it out; dates, ranges of years and dotted versions are not telephone numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]
_RUN = re.compile(r"[0-9][0-9 ()\[\]./-]{5,30}[0-9]")
"""Where a number may be; cheap to look for, because it begins with a digit."""
_NUMBER = re.compile(
    r"(?:\+|\[[0-9]{1,3}\][ -]?)?(?:\(0?[0-9]{1,5}\)[ ./-]?|0[0-9]{1,5} / )?"
    r"[0-9](?:[ ./-]?(?:\([0-9]{1,5}\)[ ./-]?)?[0-9]){4,16}"
)
_COUNTRY_IN_BRACKETS = re.compile(r"\[[0-9]{1,3}\][ -]?")
_NORTH_AMERICAN = re.compile(
    r"(?:1[ .-]?)?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}([.-]))[2-9][0-9]{2}(?(1)\1|[ .-])[0-9]{4}"
)
_AFTER_PLUS_ONE = re.compile(r"1(?:[2-9][0-9]{2}){2}[0-9]{4}")
_GOES_ON = re.compile(r"[-./,][0-9]|-[A-Z]{2}")
_BEFORE = 8
"""Characters before a run of digits in which its number may begin: a plus sign, a country, an area."""
_WORD = re.compile(
    r"\b(?:tel|telephone|phone|ph|mobile|cell|fax|hotline|voicemail|whatsapp|call|dial|telefon|telefax|tlf|mobil|fon|handy|tél|téléphone"
    r"|teléfono|telefono|telefone|тел|телефон|电话|電話)(?:[.]|\b)"
    r"(?:[ .]{0,2}(?:number|no|nr|us|me|is|at|on)){0,2}[ .]{0,2}[:：#]?[ ]{0,2}$",
    re.IGNORECASE,
)
_OTHER_WORD = re.compile(
    r"(?:\b(?:version|ver|v|release|build|firmware|revision|rev|kernel|isbn(?:-1[03])?|issn|doi|section|sec|article|pages?|pp"
    r"|invoice|order|case|ticket|part|serial|model|item|sku|upc|ean|guid|uuid|id|patent|coordinates?)|§)"
    r"[ .]{0,2}(?:number|no|nr)?[ .]{0,2}[:：#]?[ ]{0,2}$",
    re.IGNORECASE,
)
_DATE = r"(?:(?:1[89]|20)[0-9]{2}([./-])[01]?[0-9]\1[0-3]?[0-9]|[0-3]?[0-9]([./-])[0-3]?[0-9]\2(?:1[89]|20)[0-9]{2})"
_NO_NUMBER = re.compile(
    rf"{_DATE}(?![0-9])|(?:1[89]|20)[0-9]{{2}}(?:[ /-](?:1[89]|20)[0-9]{{2}})+$"
    r"|.*(?:(?<![0-9])[0-9]\.|\.[0-9](?![0-9]))"
)
"""A date, years, or a digit alone beside a dot, as in a version or a decimal number."""
_LOOK_BACK = 30
LEAST_DIGITS, MOST_DIGITS = 7, 15
"""E.164 has at most 15 digits; below 7 are extensions and short codes."""
LEAST_INTERNATIONAL = 9
_COUNTRY = re.compile(
    r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|(?:2[1-689]|3[578]|42|5[09]|6[7-9]|8[05789]|9[679])[0-9]"
)
"""Country codes of ITU-T E.164."""


def find_phone_numbers(text: str) -> Iterator[Span]:
    """Where telephone numbers are in a text."""
    done = 0
    for run in _RUN.finditer(text):
        first = _beginning(text, max(done, run.start() - _BEFORE), run.start())
        found = _NUMBER.match(text, first)
        if found is None or not _is_number(text, *found.span()):
            found = _NORTH_AMERICAN.search(text, max(done, run.start() - 1), run.end())
            if found is None or _is_inside(text, *found.span()) or _is_numbered_thing(text, found.start()):
                continue
        if found.start() >= done:
            yield found.span()
            done = found.end()


def _beginning(text: str, least: int, start: int) -> int:
    """Where the number of a run of digits begins: at the plus sign or bracket before it, or at the run."""
    marks = [place for mark in "+[(" if (place := text.rfind(mark, least, start)) >= 0]
    first = min(marks, default=start)
    return first if all(character in "+[]() -0123456789" for character in text[first:start]) else start


def _is_number(text: str, start: int, end: int) -> bool:
    number = text[start:end]
    if _is_inside(text, start, end):
        return False
    digits = "".join(filter(str.isdecimal, number))
    if not LEAST_DIGITS <= len(digits) <= MOST_DIGITS:
        return False
    if number.startswith("+"):
        return _is_international(digits, number)
    bracket = _COUNTRY_IN_BRACKETS.match(number)
    if _NORTH_AMERICAN.fullmatch(number, bracket.end() if bracket else 0):
        return not _is_numbered_thing(text, start)
    return _follows(_WORD, text, start) and _NO_NUMBER.match(number) is None


def _is_international(digits: str, number: str) -> bool:
    """Whether these digits can follow a plus sign: not an amount, as in `+10 000 000`."""
    if digits.startswith("1"):
        without_extension = "".join(filter(str.isdecimal, number.partition("/")[0]))
        return _AFTER_PLUS_ONE.fullmatch(without_extension) is not None
    return len(digits) >= LEAST_INTERNATIONAL and "000000" not in digits and _COUNTRY.match(digits) is not None


def _is_numbered_thing(text: str, start: int) -> bool:
    """Whether a number without brackets follows a word such as `version` or `order no.`."""
    return text[start] not in "([" and _follows(_OTHER_WORD, text, start)


def _follows(word: re.Pattern[str], text: str, start: int) -> bool:
    return word.search(text, max(0, start - _LOOK_BACK), start) is not None


def _is_inside(text: str, start: int, end: int) -> bool:
    """Whether the characters around make it a part of something longer: a word, a longer number, a path."""
    before, after = text[max(0, start - 1) : start], text[end : end + 3]
    if before.isalnum() or (before and before in "_-./=&%#$+,"):
        return True
    return after[:1].isalnum() or (after != "" and after[0] in "_=%+") or _GOES_ON.match(after) is not None
