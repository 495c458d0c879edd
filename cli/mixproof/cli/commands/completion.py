"""`mixproof completion`: the script with which a shell completes commands, options and their choices."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from typing import Annotated, Literal, get_args, get_type_hints

import typer
from typer.models import OptionInfo

from mixproof.cli.command_list import COMMANDS, first_line
from mixproof.cli.options import VerboseOption

ShellArgument = Annotated[Literal["bash", "zsh", "fish"], typer.Argument(metavar="bash|zsh|fish")]
BASH = """\
_mixproof() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} words=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{commands}"
  elif [ "${{current:0:1}}" = "-" ]; then
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  else
    COMPREPLY=( $(compgen -f -- "$current") )
    return
  fi
  COMPREPLY=( $(compgen -W "$words" -- "$current") )
}}
complete -o filenames -F _mixproof mixproof
"""
ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


def completion(shell: ShellArgument, verbose: VerboseOption = 0) -> None:
    """Print the completion script of a shell: `eval "$(mixproof completion bash)"`, or `... fish | source`."""
    options = {name: options_of(name) for name in COMMANDS}
    if shell == "fish":
        sys.stdout.write(fish_script(options))
    else:
        sys.stdout.write((ZSH if shell == "zsh" else "") + bash_script(options))


def options_of(command: str) -> list[str]:
    """The long options of a command, from its signature."""
    function = getattr(import_module(f"mixproof.cli.commands.{command}"), command)
    hints = get_type_hints(function, include_extras=True)
    found = ["--help"]
    for name in signature(function).parameters:
        for option in get_args(hints[name])[1:]:
            if isinstance(option, OptionInfo):
                # typer takes the first name of an annotated option for its default until it builds the command
                flags = [str(option.default), *(option.param_decls or ())]
                found += [flag for flag in flags if flag.startswith("--")]
    return sorted(found)


def bash_script(options: Mapping[str, Sequence[str]]) -> str:
    """The script for bash; zsh reads it as well."""
    cases = "\n".join(f'      {name}) words="{" ".join(flags)}" ;;' for name, flags in options.items())
    return BASH.format(commands=" ".join(options), cases=cases)


def fish_script(options: Mapping[str, Sequence[str]]) -> str:
    """The script for fish."""
    lines = []
    for name, flags in options.items():
        about = first_line(name).replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"complete -c mixproof -n __fish_use_subcommand -f -a {name} -d '{about}'")
        lines += [
            f"complete -c mixproof -n '__fish_seen_subcommand_from {name}' -l {flag.removeprefix('--')}"
            for flag in flags
        ]
    return "\n".join(lines) + "\n"
