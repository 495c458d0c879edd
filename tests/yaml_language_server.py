"""Show what the real yaml-language-server says about specs, as an editor does; no test, because it needs Node.

    npm install yaml-language-server
    python tests/yaml_language_server.py node_modules/.bin/yaml-language-server SPEC...

Speaks the Language Server Protocol over the server's stdin and stdout. Ends with 1 if there is a diagnostic.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

Message = dict[str, Any]


def main() -> int:
    """Print the diagnostics of every spec."""
    server, *specs = sys.argv[1:]
    if shutil.which(server) is None:
        print(f"{server}: there is no such program; `npm install yaml-language-server` installs it", file=sys.stderr)
        return 2
    found = 0
    with subprocess.Popen([server, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        _initialize(process.stdin, process.stdout)
        for spec in specs:
            lines = Path(spec).read_text().splitlines()
            for one in _diagnostics(process.stdin, process.stdout, Path(spec).absolute()):
                found += 1
                line = one["range"]["start"]["line"]
                print(f"{spec}:{line + 1}: {' '.join(one['message'].split())}: {lines[line].strip()}")
        process.kill()
    print(f"{len(specs)} specs, {found} diagnostics")
    return int(found > 0)


def _initialize(out: IO[bytes], into: IO[bytes]) -> None:
    capabilities = {"workspace": {"configuration": True}}
    parameters = {"processId": None, "rootUri": None, "capabilities": capabilities}
    _send(out, {"id": 1, "method": "initialize", "params": parameters})
    next(message for message in _messages(into) if message.get("id") == 1)
    _send(out, {"method": "initialized", "params": {}})


def _diagnostics(out: IO[bytes], into: IO[bytes], spec: Path) -> list[Message]:
    document = {"uri": spec.as_uri(), "languageId": "yaml", "version": 1, "text": spec.read_text()}
    _send(out, {"method": "textDocument/didOpen", "params": {"textDocument": document}})
    for message in _messages(into):
        if message.get("method") == "workspace/configuration":
            settings = {"yaml": {"validate": True, "schemaStore": {"enable": False}}}
            result = [settings.get(item.get("section")) for item in message["params"]["items"]]
            _send(out, {"id": message["id"], "result": result})
        elif message.get("method") == "textDocument/publishDiagnostics":
            if message["params"]["uri"] == spec.as_uri():
                diagnostics: list[Message] = message["params"]["diagnostics"]
                return diagnostics
        elif "id" in message and "method" in message:
            _send(out, {"id": message["id"], "result": None})
    return []


def _send(out: IO[bytes], message: Message) -> None:
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    out.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    out.flush()


def _messages(into: IO[bytes]) -> Iterator[Message]:
    while True:
        length = 0
        while line := into.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not length:
            return
        yield json.loads(into.read(length))


if __name__ == "__main__":
    sys.exit(main())
