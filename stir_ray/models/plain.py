"""Which modules are just what their library made them."""

from typing import TypeGuard, TypeVar

from torch import nn

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


Kind = TypeVar("Kind", bound=nn.Module)


def is_plain(module: object, kind: type[Kind]) -> TypeGuard[Kind]:
    """Whether a module is of exactly this type and has no hooks, nor has any module in it.

    Only then may another computation of the same numbers replace its own: a subclass may compute
    otherwise, and a hook may wait for what the other computation never makes.
    """
    return type(module) is kind and not any(
        getattr(inner, hooks) for inner in module.modules() for hooks in _HOOKS
    )
