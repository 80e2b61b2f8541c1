"""Commands that a cluster runs by itself: sent through Ray's job API, followed, outlived by it."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stir_ray.errors import ClusterUnavailable, InputError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
if (
    os.environ.get("RAY_AUTH_TOKEN")
    or os.environ.get("RAY_AUTH_TOKEN_PATH")
    or Path("~/.ray/auth_token").expanduser().is_file()
):
    # Whoever has a token means it to be shown. Ray reads this when it is imported.
    os.environ.setdefault("RAY_AUTH_MODE", "token")

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

_REQUEST_S = (10.0, 120.0)
"""To connect, and between two bytes of an answer."""
_SILENCE_S = 60.0
"""Without a word of the log, before it is asked whether there still is a connection."""
_POLL_S = 1.0
_PATIENCE_S = 600.0
"""Without an answer of the cluster, before nobody waits any longer."""
_INTERRUPTED = 130
_TROUBLES = (OSError, RuntimeError, ValueError, aiohttp.ClientError, AuthenticationError)
"""What the client raises; those of its plain requests are OSErrors."""

# What each request does is no news to whoever submits.
for _handler in logging.getLogger("ray").handlers:
    _handler.setLevel(logging.WARNING)


@dataclass(frozen=True)
class Submission:
    """What a cluster is to run.

    Attributes:
        id: by which the cluster knows it; new for each submission.
        command: of a shell on the head node, in a copy of `folder`.
        folder: comes along to every machine that works for the command.
        environment: variables of the command and its workers. Whoever may see the job sees them.
    """

    id: str
    command: str
    folder: Path
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code; 130 if it was stopped, 128 + n if signal n killed it.
        reason: in words, if it could not be run at all.
    """

    code: int
    reason: str = ""


class _Log:
    """A log that is told from its beginning after each cut, and shown once."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self.shown = 0
        """Characters."""

    async def show_on(self, pieces: AsyncGenerator[str, None]) -> None:
        """Show what was not shown yet, until it ends or nothing comes for long."""
        begin = 0
        async with aclosing(pieces):
            while (piece := await _next(pieces)) is not None:
                end = begin + len(piece)
                if end > self.shown:
                    self._show(piece[max(0, self.shown - begin) :])
                    self.shown = end
                begin = end


class _Client(JobSubmissionClient):
    def _do_request(self, *arguments: Any, **options: Any) -> Any:
        # Without a limit a wrong address is waited for until the system gives it up.
        return super()._do_request(*arguments, timeout=_REQUEST_S, **options)


class JobClient:
    """The job API of a cluster."""

    def __init__(self, address: str) -> None:
        """See that it answers.

        Args:
            address: `http://HEAD:8265`, of the head node's dashboard.

        Raises:
            InputError: if it does not, or not to us.
        """
        if "://" not in address:
            raise InputError(
                f"address {address}: not of a job API; give the one of the head node's dashboard, "
                "http://HEAD:8265"
            )
        self.address = address
        # Ray lets it win over the address that it is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = address
        try:
            self._client = _Client(address)
        except _TROUBLES as error:
            raise InputError(self._unreachable(error)) from None

    @property
    def is_shown_a_token(self) -> bool:
        """Whether requests carry a token."""
        return os.environ.get("RAY_AUTH_MODE") == "token"

    def submit(self, submission: Submission) -> None:
        """Send it. It begins by itself, and needs nobody to wait for it.

        Raises:
            InputError: if the cluster does not take it.
        """
        environment = {"working_dir": str(submission.folder), "env_vars": submission.environment}
        try:
            # No resources are asked for: those would place the command on a node that has them,
            # which may be a machine that goes away.
            self._client.submit_job(
                entrypoint=submission.command,
                submission_id=submission.id,
                runtime_env=environment,
            )
        except _TROUBLES as error:
            raise InputError(f"{self.address} did not take the job: {_reason(error)}") from None

    def follow(
        self, submission_id: str, show: Callable[[str], None], retry_timeout_s: float = _PATIENCE_S
    ) -> Ended:
        """Show what a command writes until it ends.

        Args:
            submission_id: of the command.
            show: called with each piece of its output, standard error included.
            retry_timeout_s: for how long a cluster that does not answer is asked again.

        Raises:
            ClusterUnavailable: if it does not answer for longer.
        """
        log, away_since = _Log(show), None
        while True:
            shown = log.shown
            try:
                pieces: Any = self._client.tail_job_logs(submission_id)
                asyncio.run(log.show_on(pieces))
                info = self._client.get_job_info(submission_id)
            except _TROUBLES as error:
                now = time.monotonic()
                # A log that goes on is an answer; one that is told again from its beginning is not.
                if away_since is None or log.shown > shown:
                    away_since = now
                if now - away_since > retry_timeout_s:
                    raise ClusterUnavailable(
                        f"{self.address} gives no answer ({_reason(error)}); job "
                        f"{submission_id} needs none and goes on if its cluster does"
                    ) from None
            else:
                if info.status.is_terminal():
                    return _ended(info)
                away_since = None
            time.sleep(_POLL_S)

    def _unreachable(self, error: Exception) -> str:
        if not isinstance(error, AuthenticationError):
            return (
                f"no Ray cluster answers at {self.address} ({_reason(error)}); see that it runs "
                "and that its port can be reached from here; `ray dashboard cluster.yaml` brings "
                "that of a cluster on AWS to http://127.0.0.1:8265"
            )
        return (
            f"{self.address} asks for a token ({_reason(error)}); set RAY_AUTH_TOKEN, or "
            "RAY_AUTH_TOKEN_PATH to a file that holds it, to that of the cluster"
        )


async def _next(log: AsyncIterator[str]) -> str | None:
    """The next piece; None at the end, and when nothing came for long."""
    try:
        return await asyncio.wait_for(anext(log), _SILENCE_S)
    except (StopAsyncIteration, TimeoutError):
        return None


def _ended(info: JobDetails) -> Ended:
    if info.status == JobStatus.STOPPED:
        return Ended(_INTERRUPTED)
    if info.status == JobStatus.SUCCEEDED:
        return Ended(0)
    code = info.driver_exit_code
    if code is None:
        return Ended(1, _reason(info.message or "no reason given"))
    return Ended(code if code >= 0 else 128 - code)


def _reason(error: object) -> str:
    """The first sentence; Ray's errors go on for many."""
    lines = str(error).strip().splitlines()
    return lines[0].partition(". ")[0].rstrip(".") if lines else type(error).__name__
