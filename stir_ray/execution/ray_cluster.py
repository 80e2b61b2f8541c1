"""The Ray that workers run on: a cluster, or one started here. Comes before any import of ray."""

import logging
import os
import signal

# Ray reads these on import or start. Under `uv run` Ray would start every worker through uv and
# upload the working directory, lakes and all.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Without it Ray hides the GPUs from workers that ask for none of them, and warns that it does.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
if not os.environ.get("RAY_ADDRESS"):
    # A Ray of this machine alone: nothing of it listens on the network, and its token is said for
    # explicitly, since Ray would use one anyway and warn about it.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray

from stir_ray.errors import InputError
from stir_ray.execution.worker_pool import Node


def on_cluster() -> bool:
    """Whether this is a cluster, which may grow or replace what it lost."""
    return bool(os.environ.get("RAY_ADDRESS"))


def nodes() -> list[Node]:
    """What each node that is alive has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def node_hosts() -> dict[str, str]:
    """The machine of each node that is alive, by the node's id."""
    return {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}


def connect(cores: int | None = None) -> None:
    """To the cluster that `RAY_ADDRESS` names, as in a submitted job; else start one here.

    A signal that is to end a run must raise KeyboardInterrupt: while Ray waits, it passes on no
    other exception of a handler as it is.

    Args:
        cores: of this machine that a Ray started here may use; all of them if not given.

    Raises:
        InputError: if the cluster cannot be reached, or no Ray can be started here.
    """
    # Ray puts its own handler of SIGTERM in place of the caller's.
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _start(cores)
    except SystemExit:
        # Raised by Ray's own handler of SIGTERM.
        raise KeyboardInterrupt from None
    except Exception as error:
        # Ray raises whatever the failing layer raised, and each layer its own.
        raise InputError(_not_started(error)) from error
    if handler is not None:
        signal.signal(signal.SIGTERM, handler)


def _start(cores: int | None) -> None:
    if on_cluster():
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    else:
        ray.init(
            # Without it Ray joins whatever other Ray runs on this machine.
            address="local",
            num_cpus=cores,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )


def _not_started(error: Exception) -> str:
    said = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    if on_cluster():
        return (
            f"the Ray cluster of RAY_ADDRESS={os.environ['RAY_ADDRESS']} cannot be reached "
            f"({said}); give the head node's address as HOST:6379, or unset RAY_ADDRESS to run on "
            "this machine alone; if the cluster asks for a token, set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to that of the cluster"
        )
    return (
        f"Ray cannot be started on this machine ({said}); `--serial` does without it, and "
        "RAY_ADDRESS names a cluster that runs already"
    )
