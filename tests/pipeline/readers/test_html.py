"""HTML: the charset that a page is in, whatever its header and its meta say."""

from __future__ import annotations

import pytest

from mixproof.pipeline.readers.html import decode_html, main_text

KOREAN, GERMAN, RUSSIAN, JAPANESE = "한국어 문서", "Größe der Straße", "Привет, мир", "日本語の文書"


def meta(charset: str) -> str:
    return f'<html><head><META http-equiv="Content-Type" content="text/html; charset={charset}"></head>'


@pytest.mark.parametrize(
    ("data", "header", "text", "charset"),
    [
        (KOREAN.encode("euc-kr"), "text/html; charset=EUC-KR", KOREAN, "cp949"),
        ((meta("EUC-KR") + KOREAN).encode("euc-kr"), "text/html", KOREAN, "cp949"),
        ((meta("Shift_JIS") + JAPANESE).encode("shift_jis"), "text/html", JAPANESE, "cp932"),
        (RUSSIAN.encode("windows-1251"), 'text/html; charset="windows-1251"', RUSSIAN, "cp1251"),
        (GERMAN.encode("latin-1"), "text/html;charset=ISO-8859-1", GERMAN, "cp1252"),
        (
            f"{GERMAN} \u201equoted\u201c".encode("cp1252"),
            "text/html; charset=iso-8859-1",
            "\u201equoted\u201c",
            "cp1252",
        ),
        (b'<?xml version="1.0" encoding="iso-8859-2"?>\xb1', "text/html", "ą", "iso8859-2"),
        (JAPANESE.encode("iso-2022-jp"), "text/html; charset=iso-2022-jp", JAPANESE, "iso2022_jp"),
        (b"plain", "text/html; charset=EUC-KR", "plain", "ascii"),
        ((meta("iso-2022-jp") + JAPANESE).encode("iso-2022-jp"), "text/html; charset=utf-8", JAPANESE, "iso2022_jp"),
        ("<p>no mark".encode("utf-16-le"), "text/html; charset=utf-16le", "<p>no mark", "utf-16-le"),
        # what is said is wrong
        ((meta("utf-16") + RUSSIAN).encode("cp1251"), "text/html; charset=windows-1251", RUSSIAN, "cp1251"),
        (b"<meta charset=utf-16>even", "text/html", "even", "ascii"),
        ((meta("ISO-8859-1") + GERMAN).encode(), "text/html; charset=iso-8859-1", GERMAN, "utf-8"),
        ((meta("EUC-KR") + KOREAN).encode("euc-kr"), "text/html; charset=utf-8", KOREAN, "cp949"),
        (GERMAN.encode(), "text/html; charset=no-such", GERMAN, "utf-8"),
        (GERMAN.encode(), "text/html; charset=utf-7", GERMAN, "utf-8"),
        *(
            ((meta(name) + GERMAN).encode("latin-1"), f"text/html; charset={name}; charset=iso-8859-1", GERMAN, None)
            for name in ("undefined", "rot13", "base64", "idna", "unicode_escape", "mbcs", "x" * 5000)
        ),
        # marks win
        ("\ufeff".encode() + GERMAN.encode(), "text/html; charset=EUC-KR", GERMAN, "utf-8"),
        (("\ufeff" + GERMAN).encode("utf-16-le"), "text/html", GERMAN, "utf-16-le"),
        (("\ufeff" + GERMAN).encode("utf-16-be"), "text/html", GERMAN, "utf-16-be"),
    ],
)
def test_a_page_is_decoded(data: bytes, header: str, text: str, charset: str | None) -> None:
    found = decode_html(data, header)
    assert found is not None
    assert text in found[0] and "\ufffd" not in found[0] and "\ufeff" not in found[0]
    assert charset is None or found[1] == charset


def test_a_bad_byte_in_a_thousand_characters_is_replaced() -> None:
    good = (GERMAN * 200).encode()
    found = decode_html(good + b"\xff", "text/html; charset=utf-8")
    assert found == (GERMAN * 200 + "\ufffd", "utf-8")


def test_a_page_that_names_no_charset_is_guessed() -> None:
    text = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 20
    found = decode_html(text.encode("windows-1251"), "text/html")
    assert found is not None and found[0] == text


def test_the_main_text_leaves_navigation_out() -> None:
    words = "The old bridge was closed in spring, because its stones had begun to move and nobody knew why. " * 5
    page = f"<body><nav><a href=/>Home</a></nav><article><p>{words}</p></article><footer>Legal</footer></body>"
    assert main_text(page) == words.strip()
    assert main_text("<html><body></body></html>") is None


@pytest.mark.parametrize("sign", ["\x01", "\x08", "\x0e", "\x1b[0m", "\ufffe", "\uffff", "&#1;", "&#x1F", "&#65535;"])
def test_a_sign_that_xml_does_not_know_costs_only_itself(sign: str) -> None:
    page = (
        "<html><body><article><p>"
        + "A sentence about a bridge and its stones. " * 9
        + f"end{sign}.</p></article></body>"
    )
    text = main_text(page)
    assert text is not None
    assert text.replace("[0m", "").replace("\x1f", "").rstrip(" .").endswith("end")
