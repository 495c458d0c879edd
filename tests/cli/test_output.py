"""What stands on stdout and what on stderr."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from mixproof.cli import output
from mixproof.cli.fitting_table import fold_name
from mixproof.cli.output import emit_json, own_command, table
from mixproof.cli.progress.show import stage_progress
from mixproof.pipeline.cluster.task_progress import TaskProgress


def test_the_next_command_can_be_typed_where_mixproof_is_not_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/mixproof", "demo"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert own_command() == ".venv/bin/mixproof"
    (tmp_path / "mixproof").touch(0o755)
    assert own_command() == "mixproof"
    monkeypatch.setattr(sys, "argv", ["/site-packages/mixproof/cli/__main__.py", "demo"])
    monkeypatch.setenv("PATH", "")
    assert own_command() == "mixproof"


def test_what_libraries_print_while_stages_run_is_no_result(capfd: pytest.CaptureFixture[str]) -> None:
    with stage_progress() as progress:
        progress(TaskProgress("read", 0, 2))
        print("(raylet) Raylet is terminated.")  # as Ray does where a node dies
    emit_json({"build": "16162dde"})
    shown = capfd.readouterr()
    assert json.loads(shown.out) == {"build": "16162dde"}
    assert shown.err == "(raylet) Raylet is terminated.\n"


def test_json_has_no_credentials_and_stays_json(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a-key-of-twenty-chars")
    url = "https://reader:pass@host/web.jsonl?X-Amz-Signature=abcdef&part=1"
    emit_json({"files": [url], "said": 'the key "a-key-of-twenty-chars" was refused', "name": "é"})
    assert json.loads(capfd.readouterr().out) == {
        "files": ["https://***@host/web.jsonl?X-Amz-Signature=***&part=1"],
        "said": 'the key "***" was refused',
        "name": "é",
    }


def test_characters_without_width_are_spelled_in_json(capfd: pytest.CaptureFixture[str]) -> None:
    emit_json({"name": "we\u200bb\u202e\U000e0041"})
    shown = capfd.readouterr().out
    assert shown == '{"name":"we\\u200bb\\u202e\\udb40\\udc41"}\n'
    assert json.loads(shown) == {"name": "we\u200bb\u202e\U000e0041"}


def test_names_are_printed_as_they_are() -> None:
    with output.stdout.capture() as shown:
        output.stdout.print(table("Users", ("name",), [("root:x:0",)]))
    assert "root:x:0" in shown.get()


@pytest.mark.parametrize("width", [75, 76, 80, 82, 90])
def test_no_number_of_a_table_is_cut_at_any_width_that_has_room_for_it(width: int) -> None:
    columns = ("source", "records", "rejected", "decontaminated", "held out", "kept", "train tokens", "held-out tokens")
    account = table("Account", columns, [("chat", "1,500", "0", "0", "30", "1,470", "313,147", "6,400")])
    console = Console(width=width)
    with console.capture() as shown:
        console.print(account)
    lines = shown.get().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[-2].split() == ["chat", "1,500", "0", "0", "30", "1,470", "313,147", "6,400"]


def test_a_table_continues_below_itself_before_it_folds_a_name() -> None:
    columns = ("source", "records", "rejected", "filters", "decontaminated", "held out", "kept")
    account = table("Account", columns, [("web_news/en.quality_07", "1,500", "0", "0", "30", "1,470", "313,147")])
    console = Console(width=60)
    with console.capture() as shown:
        console.print(account)
    named = [line.split() for line in shown.get().splitlines() if "web_news" in line]
    assert [name for name, *_ in named] == ["web_news/en.quality_07"] * 2
    assert [number for _, *numbers in named for number in numbers] == ["1,500", "0", "0", "30", "1,470", "313,147"]


@pytest.mark.parametrize(
    ("name", "width", "lines"),
    [
        ("web_news/en.quality_07", 16, ["web_news/en.", "  quality_07"]),
        ("  science_abstracts", 14, ["  science_", "    abstracts"]),
        ("mostly_news × nano, phase 1", 20, ["mostly_news × nano,", "  phase 1"]),
        ("web_news/en", 11, ["web_news/en"]),
    ],
)
def test_a_long_name_is_folded_between_words_or_after_a_separator(name: str, width: int, lines: list[str]) -> None:
    assert fold_name(Text(name), width).plain.split("\n") == lines


def test_the_title_of_a_narrow_table_stays_on_one_line() -> None:
    console = Console(width=80)
    with console.capture() as shown:
        console.print(table("Corpus from this Python installation, in .demo", ("source",), [("stdlib",)]))
    assert shown.get().splitlines()[0].rstrip() == "Corpus from this Python installation, in .demo"


def test_lines_of_a_summary_are_wrapped_at_words_and_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(output, "stdout", output.SafeConsole(file=written, highlight=False, width=40))
    text = "code: 9,000 tokens in 3 documents [/x], 12.5% of the source"
    monkeypatch.setattr(output, "HAS_WIDTH", True)
    output.print_labelled("held out", text)
    monkeypatch.setattr(output, "HAS_WIDTH", False)
    output.print_labelled("held out", text)
    *lines, whole = written.getvalue().splitlines()
    assert lines == [
        "held out  code: 9,000 tokens in 3",
        "          documents [/x], 12.5% of the",
        "          source",
    ]
    assert whole == f"held out  {text}"


def test_names_in_tables_are_no_markup_and_stay_on_their_line() -> None:
    built = table("of [/b]", ("a [/i]", "n"), [("web[/b]", "1"), ("[link=https://x.org]web[/link]\nb", "2")])
    with output.stdout.capture() as shown:
        output.stdout.print(built)
    for text in ("of [/b]", "a [/i]", "web[/b]", "[link=https://x.org]web[/link]\\nb"):
        assert text in shown.get()
