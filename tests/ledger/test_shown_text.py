"""Text from elsewhere is shown without credentials and without characters that steer a terminal."""

from __future__ import annotations

import pytest

from mixproof.ledger.shown_text import one_line, redacted, unsigned, visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, naïve, 日本, שלום", "plain, naïve, 日本, שלום"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[2J\x1b]0;title\x07", "\ufffd[2J\ufffd]0;title\ufffd"),
        ("a\rb\x00c\x7f\x9b31m", "a\ufffdb\ufffdc\ufffd\ufffd31m"),
        ("gpj.\u202eexe\u2066\u200f", "gpj.\ufffdexe\ufffd\ufffd"),
        ("we\u200bb, we\u00adb, web\U000e0041\ufeff", "we\ufffdb, we\ufffdb, web\ufffd\ufffd"),
        ("می\u200cخواهم 👩\u200d💻", "می\u200cخواهم 👩\u200d💻"),
        ("not UTF-8: \udcff", "not UTF-8: \ufffd"),
    ],
)
def test_control_characters_and_directions_are_replaced(text: str, expected: str) -> None:
    assert visible(text) == expected


def test_a_log_line_stays_one_line() -> None:
    assert one_line("id\n2026-01-01 INFO forged\u2028line") == "id\\n2026-01-01 INFO forged\ufffdline"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ann:pw%40x@host/a.jsonl: not found", "https://***@host/a.jsonl: not found"),
        (
            "https://h/a?X-Amz-Credential=AK/2&x=1&X-Amz-Signature=ab12#f",
            "https://h/a?X-Amz-Credential=***&x=1&X-Amz-Signature=***#f",
        ),
        ("az://c/a?sv=1&sig=a%2Bb and s3://b/k", "az://c/a?sv=1&sig=*** and s3://b/k"),
        ("'https://h/?access_token=abc'", "'https://h/?access_token=***'"),
        ("hf://datasets/x@main/a.parquet, mail@host", "hf://datasets/x@main/a.parquet, mail@host"),
        ("design=3&token count: 5", "design=3&token count: 5"),
        ("https://ann:p@w@host/a and https://ghp_0123@host/a", "https://***@host/a and https://***@host/a"),
        ("'s3://AKIA12:wJal/K7M+x@bucket/a' is no URL", "'s3://***@bucket/a' is no URL"),
        ("abfs://box@account.dfs.core.windows.net/a", "abfs://box@account.dfs.core.windows.net/a"),
        ("http://[::1]:9000/b/a@2, http://h:9000/b/a@2", "http://[::1]:9000/b/a@2, http://h:9000/b/a@2"),
        ("AccountName=a;AccountKey=k+/==;End", "AccountName=a;AccountKey=***;End"),
        ("zip://in/a@b:c.jsonl::http://ann:it's@h/a.zip", "zip://in/a@b:c.jsonl::http://***@h/a.zip"),
        ("https://h/a?auth=abc&pwd=def", "https://h/a?auth=***&pwd=***"),
        ("headers={'Authorization': 'Bearer abc.def', 'X': '1'}", "headers={'Authorization': 'Bearer ***', 'X': '1'}"),
        ("authorization by ticket", "authorization by ticket"),
        ("no spec https:/ann:secret-pw@h/spec.yaml", "no spec https:/***@h/spec.yaml"),
        ("no spec s3:/ann:secret-pw@b/x", "no spec s3:/***@b/x"),
        ("https:/h/a b@c https://h/ann@c", "https:/h/a b@c https://h/ann@c"),
    ],
)
def test_credentials_of_urls_are_hidden(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_secrets_of_the_environment_are_hidden_by_the_name_of_their_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijkl")
    monkeypatch.setenv("PROXY_AUTH_2", "cmVhZGVyOnBhc3M=")
    monkeypatch.setenv("SHORT_TOKEN", "news")
    monkeypatch.setenv("HARMLESS", "a value of some length")
    assert redacted("https://h/wJalrXUtnFEMI%2FK7MDENG") == "https://h/***"
    assert redacted("through cmVhZGVyOnBhc3M=") == "through ***"
    text = "denied for wJalrXUtnFEMI/K7MDENG and hf_abcdefghijkl in news with a value of some length"
    assert redacted(text) == "denied for *** and *** in news with a value of some length"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "https://ann:pw@host/b/a.jsonl?X-Amz-Date=1&X-Amz-Credential=AK/2&X-Amz-Signature=3",
            "https://host/b/a.jsonl",
        ),
        ("https://host/download?id=7", "https://host/download?id=7"),
        ("s3://bucket/a?b", "s3://bucket/a?b"),
        ("https://host/a?sv=1&sig=2", "https://host/a"),
    ],
)
def test_a_file_is_named_by_its_url_without_what_signs_it(url: str, expected: str) -> None:
    assert unsigned(url) == expected


@pytest.mark.parametrize("part", ["a:", "/b:", "a@", "token", "&a_token-", "http://a:b"])
def test_a_long_url_is_searched_in_linear_time(part: str) -> None:
    """A search for user and password that backtracks takes a minute for the first of these."""
    url = "http://" + part * 50_000
    assert redacted(f"https://ann:pw@host {url}").startswith("https://***@host http://")
