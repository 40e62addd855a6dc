"""Describes what a study is about: everything that must be equal for two measurements to be comparable."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from autotune.contract import AnyKernel, Call, Gpu, registry
from autotune.contract.converter import CONVERTER, from_json, to_json
from autotune.environment import Environment
from autotune.measure.settings import MeasureSettings

_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class StudySpec:
    """What fixes a study.

    Attributes:
        kernel: Registry reference of the kernel.
        problem: The problem as JSON, which its kernel reads.
        call: The server's lookup; None for a kernel that no server loads configs for.
        source: Whose kernel is timed; ``builtin`` is ours.
        kernel_fingerprint: Hash of the kernel's source; ``recorded`` for a replay of a registered one.
        backend: ``cuda`` or ``replay``.
        environment: GPU, driver and versions, of this machine or of the recording.
        space: Name of the space preset, or of the recording.
        space_fingerprint: Hash of all configs.
        settings: How it is measured; None for a replay, which measures nothing.
        group: Name of the group that its result is decided in; None for a study on its own.
    """

    kernel: str
    problem: dict[str, Any]
    call: Call | None
    source: str
    kernel_fingerprint: str
    backend: str
    gpu: Gpu
    environment: Environment
    space: str
    space_fingerprint: str
    settings: MeasureSettings | None
    group: str | None = None
    schema_version: int = _SCHEMA_VERSION

    def load_kernel(self) -> AnyKernel:
        """Returns the kernel.

        Raises:
            InputError: If it is not to be had here, or is in a file that may run only once the user names it.
        """
        return registry.load_stored(self.kernel, self.kernel_fingerprint)

    @property
    def server_call(self) -> Call | None:
        """The server's lookup, by a server with the Triton version that was measured with."""
        return None if self.call is None else replace(self.call, triton=self.environment.triton)


def _read_settings(data: dict[str, Any], _kind: object) -> MeasureSettings | None:
    return from_json(MeasureSettings, data) if data else None


def _write_settings(settings: MeasureSettings | None) -> dict[str, Any]:
    return {} if settings is None else to_json(settings)


def _write_environment(environment: Environment) -> dict[str, str]:
    """Leaves out what is not known: a recording need not tell its driver."""
    return environment.known


CONVERTER.register_unstructure_hook(Environment, _write_environment)
_SETTINGS = override(unstruct_hook=_write_settings, struct_hook=_read_settings)
CONVERTER.register_unstructure_hook(StudySpec, make_dict_unstructure_fn(StudySpec, CONVERTER, settings=_SETTINGS))
CONVERTER.register_structure_hook(StudySpec, make_dict_structure_fn(StudySpec, CONVERTER, settings=_SETTINGS))
