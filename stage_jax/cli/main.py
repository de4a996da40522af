"""`stage VERB ...`: picks the verb, and says in one line what went wrong because of what it was given."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import stage_jax
from stage_jax.cli import bench, board, convert, data, direct, export, film, parity, sweep, train, video
from stage_jax.errors import InputError

BAD_INPUT, INTERRUPTED = 2, 130


class _Parser(argparse.ArgumentParser):
    """Wrong arguments end like all bad input: one line, exit code 2. Abbreviated flags are wrong, they go stale."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**{"allow_abbrev": False} | settings)

    def error(self, message: str) -> None:
        raise InputError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `stage` with `arguments` (or the process's); returns the exit code. What is a bug of ours is not caught."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # it misses PyTorch, which its tokenizers do not need
    try:
        parsed, rest = make_parser().parse_known_args(arguments)
        code = parsed.run(parsed, rest)
    except InputError as error:
        return _complain(str(error), BAD_INPUT)
    except BrokenPipeError:  # whoever read what we print has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BAD_INPUT
    except OSError as error:
        return _complain(in_words(error), BAD_INPUT)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    return code or 0


def make_parser() -> argparse.ArgumentParser:
    """The parser of all verbs; each one's `run` takes the parsed arguments and those that nothing parsed, and
    may return an exit code."""
    parser = _Parser(prog="stage", description="A story goes in, a film comes out.")
    parser.add_argument("--version", action="version", version=f"stage {stage_jax.__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True, parser_class=_Parser)
    for verb in (film, board, direct, video, train, sweep, data, convert, export, parity, bench):
        verb.add_parser(verbs)
    return parser


def in_words(error: OSError) -> str:
    """An OSError as a line for a person: the file, and what the system has against it."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(error.filename)}: {reason}" if error.filename is not None else reason


def _complain(message: str, code: int) -> int:
    print(f"stage: {' '.join(message.split())}", file=sys.stderr)
    return code
