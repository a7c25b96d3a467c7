"""An evaluator that is a command: it is given the folder and prints scores."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from stream.errors import EvaluationError
from stream.learning.evaluators.reading import FORMS, scores_in
from stream.learning.gate.scores import Scores

TIME_LIMIT_S = 3_600.0
MOST_BYTES = 64_000_000
"""Of output: a million scores with long ids."""
TAIL_BYTES = 500
"""Of stderr, that an error shows."""


class CommandEvaluator:
    """Runs a command, without a shell.

    Its output goes to files, so that what it started and left behind cannot keep its end from being seen. It is no process group of its own: whoever
    kills the group of this process ends it too.

    Args:
        command: its words; `{folder}` and `{limit}` stand for the configuration's folder and the number of samples wanted. Without `{folder}` the folder
            is its last argument.
        time_limit_s: after which it is killed.

    Attributes:
        sees_folder: that it can score a configuration which is not live.

    Raises:
        EvaluationError: the command has no words, or an open quote.
    """

    sees_folder = True

    def __init__(self, command: str, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as exc:
            raise EvaluationError(f"the evaluator's command {command!r} cannot be read ({exc}), but it is split as a shell does; close its quotes") from exc
        if not self._words:
            raise EvaluationError("the evaluator's command is empty, but it must name a program; write `command: PROGRAM {folder}`")
        self._time_limit_s = time_limit_s

    def evaluate(self, folder: Path, *, limit: int) -> Scores:
        """Run the command on a configuration's folder, and read what it prints.

        Raises:
            EvaluationError: it cannot be started, fails, takes too long, or prints something else than scores.
        """
        words = [word.replace("{folder}", str(folder)).replace("{limit}", str(limit)) for word in self._words]
        if not any("{folder}" in word for word in self._words):
            words.append(str(folder))
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            status = self._run(words, out, err)
            if status:
                raise EvaluationError(f"{shlex.join(words)} ended with status {status}, but 0 says that its scores hold; it said: {_tail(err) or 'nothing'}")
            return self._read(words, out)

    def _run(self, words: list[str], out: IO[bytes], err: IO[bytes]) -> int:
        try:
            return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=self._time_limit_s, check=False).returncode
        except subprocess.TimeoutExpired as exc:
            raise EvaluationError(f"{shlex.join(words)} was killed after {self._time_limit_s:g} s, but it must end by then; score fewer samples, or allow more time") from exc
        except OSError as exc:
            raise EvaluationError(f"{words[0]} cannot be started ({exc.strerror}), but the evaluator's command must be a program; give its path") from exc

    def _read(self, words: list[str], out: IO[bytes]) -> Scores:
        size = out.seek(0, 2)
        if size > MOST_BYTES:
            raise EvaluationError(f"{shlex.join(words)} printed {size:,} bytes, but at most {MOST_BYTES:,} are read; print scores only")
        out.seek(0)
        text = out.read().decode(errors="replace")
        if not text.strip():
            raise EvaluationError(f"{shlex.join(words)} printed nothing, but scores are {FORMS}; print them to stdout")
        return scores_in(text)


def _tail(file: IO[bytes]) -> str:
    """Return the end of what is in a file."""
    file.seek(max(file.seek(0, 2) - TAIL_BYTES, 0))
    return file.read().decode(errors="replace").strip()
