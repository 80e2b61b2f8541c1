"""Submit a command to a cluster through Ray's job API, and follow its log."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stir_ray.errors import ClusterUnavailable, InputError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
if (
    os.environ.get("RAY_AUTH_TOKEN")
    or os.environ.get("RAY_AUTH_TOKEN_PATH")
    or Path("~/.ray/auth_token").expanduser().is_file()
):
    # A token that exists is to be sent. Ray reads this when it is imported.
    os.environ.setdefault("RAY_AUTH_MODE", "token")

from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

_REQUEST_S = (10.0, 120.0)
"""Time limits of a request: to connect, and between two bytes of the reply."""
_POLL_S = 2.0
# Plain requests of the client raise OSErrors.
_CLIENT_ERRORS = (OSError, RuntimeError, ValueError, AuthenticationError)

# The client logs every request.
for _handler in logging.getLogger("ray").handlers:
    _handler.setLevel(logging.WARNING)


class JobExit(NamedTuple):
    """The exit code of a command, 130 if it was stopped; and why it could not be run, if so."""

    code: int
    reason: str = ""


class _Client(JobSubmissionClient):
    def _do_request(self, *arguments: Any, **options: Any) -> Any:
        # Without a limit a wrong address blocks until the system gives up.
        return super()._do_request(*arguments, timeout=_REQUEST_S, **options)


class JobClient:
    """The job API of a cluster. Every method raises InputError if the cluster refuses."""

    def __init__(self, address: str) -> None:
        """Check that the cluster replies at `http://HEAD:8265`, of the head node's dashboard."""
        if "://" not in address:
            raise InputError(
                f"address {address}: not of a job API; give the one of the head node's dashboard, "
                "http://HEAD:8265"
            )
        self.address = address
        # Ray prefers this variable to the address that it is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = address
        try:
            self._client = _Client(address)
        except AuthenticationError as error:
            raise InputError(
                f"{address} asks for a token ({_reason(error)}); set RAY_AUTH_TOKEN, or "
                "RAY_AUTH_TOKEN_PATH to a file that holds it, to that of the cluster"
            ) from None
        except _CLIENT_ERRORS as error:
            raise InputError(
                f"no Ray cluster answers at {address} ({_reason(error)}); check that it runs and "
                "that its port can be reached from here; `ray dashboard cluster.yaml` forwards "
                "that of a cluster on AWS to http://127.0.0.1:8265"
            ) from None

    def submit(
        self, job_id: str, command: str, folder: Path, environment: Mapping[str, str]
    ) -> None:
        """Submit a command; the cluster runs it without this machine.

        Args:
            job_id: by which the cluster knows it; new for each submission.
            command: of a shell on the head node, in a copy of `folder`.
            folder: copied to every machine that works for the command.
            environment: variables of the command and its workers, visible to all who see the job.
        """
        runtime_env = {"working_dir": str(folder), "env_vars": environment}
        try:
            # No resources are requested: Ray would place the command on a node that has them,
            # which may be one that goes away.
            self._client.submit_job(
                entrypoint=command, submission_id=job_id, runtime_env=runtime_env
            )
        except _CLIENT_ERRORS as error:
            raise InputError(f"{self.address} did not accept the job: {_reason(error)}") from None

    def follow(
        self, job_id: str, show: Callable[[str], None], retry_timeout_s: float = 600.0
    ) -> JobExit:
        """Show the output of a command, standard error included, until it ends."""
        shown, last_reply = 0, time.monotonic()
        while True:
            try:
                # In this order, so that the log of a command that has ended is whole.
                details = self._client.get_job_info(job_id)
                log = self._client.get_job_logs(job_id)
            except _CLIENT_ERRORS as error:
                if time.monotonic() - last_reply > retry_timeout_s:
                    raise ClusterUnavailable(
                        f"{self.address} does not reply ({_reason(error)}); job {job_id} goes on "
                        "if its cluster does"
                    ) from None
            else:
                last_reply = time.monotonic()
                if len(log) > shown:
                    show(log[shown:])
                    shown = len(log)
                if details.status.is_terminal():
                    return _exit_of(details)
            time.sleep(_POLL_S)


def _exit_of(details: JobDetails) -> JobExit:
    code = details.driver_exit_code
    if details.status == JobStatus.SUCCEEDED:
        return JobExit(0)
    if details.status == JobStatus.STOPPED:
        return JobExit(130)
    if code is None:
        return JobExit(1, _reason(details.message or "no reason given"))
    # A shell's code of a command that a signal killed.
    return JobExit(code if code >= 0 else 128 - code)


def _reason(error: object) -> str:
    # The first sentence; Ray's messages go on for many.
    lines = str(error).strip().splitlines()
    return lines[0].partition(". ")[0].rstrip(".") if lines else type(error).__name__
