"""A storage that kills whoever writes to it once too often: a SIGKILL at a chosen write, in process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optuna.storages import InMemoryStorage


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it."""


class MortalStorage(InMemoryStorage):
    """Kills whoever writes once too often."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.last_write: int | None = None


def _mortal(name: str) -> Callable[..., Any]:
    def write(self: MortalStorage, *arguments: Any, **options: Any) -> Any:
        if self.writes == self.last_write:
            raise Killed
        self.writes += 1
        return getattr(InMemoryStorage, name)(self, *arguments, **options)

    return write


for _name in (
    "create_new_trial",
    "set_study_user_attr",
    "set_study_system_attr",
    "set_trial_param",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "set_trial_state_values",
):
    setattr(MortalStorage, _name, _mortal(_name))
