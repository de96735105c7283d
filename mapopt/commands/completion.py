"""`mapopt completion SHELL`: prints a script that completes commands, flags and their values in bash or zsh.

The script is plain text made from the commands' own dataclasses, so pressing Tab starts no Python.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from mapopt.errors import ConfigError, unknown_name
from mapopt.fields import leaves
from mapopt.registry import load

SHELLS = ("bash", "zsh")

FILES = "@files"
"""Stands for the names of files among what may follow a flag."""

REGISTRIES = {
    "controller": "mapopt.training.controllers.registry:CONTROLLERS",
    "detector": "mapopt.detectors:DETECTORS",
    "loss": "mapopt.losses:LOSSES",
    "optimizer": "mapopt.training:OPTIMIZERS",
}
"""Last word of a flag that takes a name -> where the names are."""


def completion_script(shell: str, commands: Mapping[str, type]) -> str:
    """Returns the script.

    Args:
        shell: bash or zsh.
        commands: every command by its name of one word or two.

    Raises:
        ConfigError: the shell is another one.
    """
    if shell not in SHELLS:
        raise ConfigError(unknown_name("shell", shell, SHELLS))
    families: dict[str, list[str]] = {}
    for name in commands:
        first, _, second = name.partition(" ")
        families.setdefault(first, []).extend([second] if second else [])
    flags, values = [], []
    for name, cls in commands.items():
        known = {"--" + ".".join(path).replace("_", "-"): _words(path[-1], hint) for path, hint in leaves(cls)}
        flags.append(_case(name, ["--help", *known]))
        values += [_case(f"{name}:{flag}", words) for flag, words in known.items() if words]
    script = _SCRIPT.format(
        top=" ".join([*families, "help", "completion", "--help", "--version"]),
        families="".join(_case(first, seconds) for first, seconds in families.items() if seconds),
        flags="".join(flags),
        values="".join(values),
        shells=" ".join(SHELLS),
    )
    return _ZSH + script if shell == "zsh" else script


def _case(pattern: str, words: Iterable[str]) -> str:
    return f'        "{pattern}") words="{" ".join(words)}" ;;\n'


def _words(name: str, hint: Any) -> list[str]:
    """Returns the words that may follow a flag; nothing where any may."""
    return list(load(REGISTRIES[name])) if hint is str and name in REGISTRIES else _choices(hint)


def _choices(hint: Any) -> list[str]:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _choices(args[0])
    if origin is Literal:
        return [str(choice) for choice in args]
    if origin in (Union, types.UnionType):
        words = [word for member in args for word in _choices(member)]
        return [*words, "None"] if words and words != [FILES] and type(None) in args else words
    if origin in (tuple, list):
        return list(dict.fromkeys(word for member in args if member is not Ellipsis for word in _choices(member)))
    if hint is bool:
        return ["True", "False"]
    return [FILES] if hint is Path else []


_ZSH = """\
autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
"""
"""zsh runs bash's completions itself, once these are loaded."""

_SCRIPT = """\
# Completes `mapopt`. For this shell: source <(mapopt completion bash), or zsh.

_mapopt_values() {{
    local words=""
    case "$1" in
{values}    esac
    printf '%s' "$words"
}}

_mapopt_flags() {{
    local words=""
    case "$1" in
{flags}    esac
    printf '%s' "$words"
}}

_mapopt_family() {{
    local words=""
    case "$1" in
{families}        "completion") words="{shells}" ;;
    esac
    printf '%s' "$words"
}}

_mapopt() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" name="${{COMP_WORDS[1]}}" first=2 words="" flag="" given="" place
    COMPREPLY=()
    if [[ "$name" == help ]] && (( COMP_CWORD > 1 )); then
        # What follows is a command like the first word.
        COMP_WORDS=("${{COMP_WORDS[0]}}" "${{COMP_WORDS[@]:2}}")
        COMP_CWORD=$(( COMP_CWORD - 1 )) name="${{COMP_WORDS[1]}}"
    fi
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=( $(compgen -W "{top}" -- "$current") )
        return
    fi
    words="$(_mapopt_family "$name")"
    if [[ -n "$words" ]]; then
        if (( COMP_CWORD == 2 )); then
            COMPREPLY=( $(compgen -W "$words" -- "$current") )
            return
        fi
        name="$name ${{COMP_WORDS[2]}}" first=3
    fi
    # The last flag before the word says what the word may be.
    for (( place = COMP_CWORD - 1; place >= first; place-- )); do
        if [[ "${{COMP_WORDS[place]}}" == --* ]]; then
            flag="${{COMP_WORDS[place]}}"
            break
        fi
    done
    # bash takes --flag=value apart at the sign.
    [[ "$current" == "=" ]] && current=""
    if [[ "$current" != -* && -n "$flag" ]]; then
        given="$(_mapopt_values "$name:${{flag//_/-}}")"
        if [[ "$given" == *"@files"* ]]; then
            COMPREPLY=( $(compgen -f -- "$current") )
            compopt -o filenames 2> /dev/null
        elif [[ -n "$given" ]]; then
            COMPREPLY=( $(compgen -W "$given" -- "$current") )
        fi
        # A switch may stand alone, and any flag may follow when nothing is begun.
        [[ -n "$current" || "$given" != "True False" ]] && return
    fi
    COMPREPLY+=( $(compgen -W "$(_mapopt_flags "$name")" -- "$current") )
}}

complete -o bashdefault -F _mapopt mapopt
"""
