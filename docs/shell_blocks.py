"""The shell commands of a page, found and run: what a tutorial says is what happens.

    python docs/shell_blocks.py PAGE.md FOLDER     runs every ```sh block of the page in FOLDER, in order

One shell runs all blocks, so a variable that one sets the next one knows, and the first command that fails ends it
with that command's exit code. Blocks of other kinds (```console, ```yaml, indented ones) are not run.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HEADING = "\033[1m$ {}\033[0m" if sys.stdout.isatty() else "$ {}"


def shell_blocks(page: str) -> list[str]:
    """Return the text of every ```sh block of a page."""
    return BLOCK.findall(page)


def mixproof_calls(page: str) -> list[list[str]]:
    """Return the arguments of every call of mixproof in the ```sh and ```console blocks of a page."""
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    calls = []
    for line in lines:
        for call in re.findall(r"(?:^|\$\(|\|\s*|-m )(?:mixproof\.cli|mixproof) ([^|)>&#]*)", line.strip()):
            calls.append(shlex.split(call))
    return calls


def mentioned_calls(page: str) -> list[list[str]]:
    """Return the words of every call of mixproof that the text of a page mentions, in backticks or in an indented line.

    Optional parts and comments are left out, so a call may be incomplete.
    """
    text = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"`mixproof ([^`]+)`", text) + re.findall(r"^    mixproof (.+)$", text, re.MULTILINE)
    return [re.sub(r"[\[\]|()]|\.\.\.|\s#.*", " ", call).split() for call in found]


def script_of(page: str) -> str:
    """Return one shell script of all blocks, each shown before it runs."""
    parts = ["set -euo pipefail"]
    for block in shell_blocks(page):
        shown = "\n".join(HEADING.format(line) for line in block.rstrip().splitlines())
        parts += [f"printf '%s\\n' {shlex.quote(shown)}", block.rstrip()]
    return "\n".join(parts) + "\n"


def main(page: Path, folder: Path) -> int:
    """Run a page's commands and say how long they took."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    code = subprocess.run(["/bin/bash", "-c", script_of(page.read_text())], cwd=folder, check=False).returncode
    print(f"{page}: {'all commands ran' if code == 0 else f'exit code {code}'}, {time.monotonic() - started:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
