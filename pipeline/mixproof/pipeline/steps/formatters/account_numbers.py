"""Find credit card numbers and IBANs by their forms and check digits.

Cards: a known prefix with its length (ISO/IEC 7812), usual grouping, and the Luhn checksum, which one random number in
ten has. IBANs: the length of the country and the remainder 1 of ISO 13616, which one random text in 97 has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]
_LONG_NUMBER = re.compile(r"[0-9](?:[ -]?[0-9]){12}")
_CARD = re.compile(
    r"(?<![\w.,/=&%#+-])"
    r"(?:[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|[0-9]{4}([ -])[0-9]{6}\2[0-9]{4,5}|[0-9]{13,19})"
    r"(?![\w=%]|[.,/-][0-9])"
)
_PREFIXES: tuple[tuple[int, int, frozenset[int]], ...] = (
    (4, 4, frozenset((13, 16, 19))),
    (51, 55, frozenset((16,))),
    (2221, 2720, frozenset((16,))),
    (34, 34, frozenset((15,))),
    (37, 37, frozenset((15,))),
    (300, 305, frozenset((14,))),
    (36, 36, frozenset((14,))),
    (38, 39, frozenset((14,))),
    (6011, 6011, frozenset((16, 19))),
    (644, 659, frozenset((16, 19))),
    (3528, 3589, frozenset((16, 19))),
    (62, 62, frozenset((16, 19))),
)
"""First and last prefix, and the numbers of digits: Visa, Mastercard (twice), American Express, Diners Club, Discover,
JCB, UnionPay."""
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
IBAN_LENGTHS = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FI", "FO", "GL", "NL", "SD"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "XK", "MN"), 20),
    **dict.fromkeys(("CH", "CR", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "OM", "SO", "TL"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("LY", "PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("BI", "DJ", "FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HU", "LB", "NI", "PL", "SV"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    **dict.fromkeys(("LC",), 32),
    **dict.fromkeys(("RU",), 33),
}
"""Characters of an IBAN by country, from the SWIFT registry."""


def find_credit_cards(text: str) -> Iterator[Span]:
    """Where credit card numbers are in a text."""
    if _LONG_NUMBER.search(text) is None:
        return
    for found in _CARD.finditer(text):
        digits = "".join(filter(str.isdecimal, found[0]))
        if _is_issued(digits) and luhn(digits):
            yield found.span()


def find_ibans(text: str) -> Iterator[Span]:
    """Where IBANs are in a text."""
    for found in _IBAN.finditer(text):
        length = IBAN_LENGTHS.get(found[0][:2], 0)
        before = text[found.start() - 1 : found.start()]
        if before.isalnum() or before in ("-", "_"):
            continue
        places = [place for place, character in enumerate(found[0]) if character != " "][:length]
        iban = "".join(found[0][place] for place in places)
        end = places[-1] + 1 if places else 0
        if len(iban) == length > 0 and not found[0][end : end + 1].strip() and remainder_of_iban(iban) == 1:
            yield found.start(), found.start() + end


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812-1."""
    doubled = (divmod(2 * int(digit), 10) for digit in digits[-2::-2])
    return (sum(map(int, digits[::-2])) + sum(tens + ones for tens, ones in doubled)) % 10 == 0


def remainder_of_iban(iban: str) -> int:
    """The remainder modulo 97 of an IBAN without spaces; 1 if it is valid (ISO 7064)."""
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97


def _is_issued(digits: str) -> bool:
    return any(
        first <= int(digits[: len(str(first))]) <= last and len(digits) in lengths for first, last, lengths in _PREFIXES
    )
