"""Connect to a Ray cluster, or start Ray on this machine. Import this before ray."""

import logging
import os
import signal

# Ray reads these on import or start. Under `uv run` Ray would start every worker through uv and
# upload the working directory, lakes included.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Without it Ray hides the GPUs from workers that request none, and warns that it does.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
if not os.environ.get("RAY_ADDRESS"):
    # A Ray of this machine alone does not listen on the network. Token mode is set explicitly,
    # since Ray would use a token anyway and warn about it.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray

from stir_ray.errors import InputError
from stir_ray.execution.allocation import Node


def on_cluster() -> bool:
    """Return whether Ray runs on a cluster, which may grow or replace lost nodes."""
    return bool(os.environ.get("RAY_ADDRESS"))


def resources() -> list[Node]:
    """Return the resources of each node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def connect(cores: int | None = None) -> None:
    """Connect to the cluster that `RAY_ADDRESS` names; without it start Ray on this machine.

    Args:
        cores: of this machine that Ray may use if it is started here; all if not given.

    Raises:
        InputError: if the cluster cannot be reached, or Ray cannot be started.
    """
    # Ray replaces the caller's handler of SIGTERM by its own.
    handler = signal.getsignal(signal.SIGTERM)
    # Without the address "local" Ray joins any other Ray that runs on this machine.
    local = {"address": "local", "num_cpus": cores, "include_dashboard": False}
    options = {} if on_cluster() else local
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **options)
    except SystemExit:
        # Raised by Ray's own handler of SIGTERM.
        raise KeyboardInterrupt from None
    except Exception as error:
        # Each layer of Ray raises its own type.
        raise InputError(_failed_start(error)) from error
    if handler is not None:
        signal.signal(signal.SIGTERM, handler)


def _failed_start(error: Exception) -> str:
    reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    if on_cluster():
        return (
            f"the Ray cluster of RAY_ADDRESS={os.environ['RAY_ADDRESS']} cannot be reached "
            f"({reason}); give the head node's address as HOST:6379, or unset RAY_ADDRESS to run "
            "on this machine alone; if the cluster asks for a token, set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to that of the cluster"
        )
    return (
        f"Ray cannot be started on this machine ({reason}); `--serial` runs without Ray, and "
        "RAY_ADDRESS names a cluster that is running"
    )
