"""Decides whether a study may go on in this process, on this machine."""

from __future__ import annotations

from autotune.contract.fingerprint import kernel_fingerprint
from autotune.environment import current_environment
from autotune.errors import InputError
from autotune.run.options import RunOptions
from autotune.study.study import KernelStudy


def check(study: KernelStudy, options: RunOptions) -> None:
    """Refuses to mix measurements that cannot be compared.

    Raises:
        InputError: If the study is of another backend, or was created on another machine, with other versions or of
            another source of the kernel.
    """
    wanted, spec = options.backend, study.spec
    if wanted not in ("auto", spec.backend):
        raise InputError(f"--backend {wanted}: study {study.name} is a {spec.backend} study; leave --backend out")
    if spec.backend == "replay" or options.allow_env_change:
        return
    here = current_environment().known | {"kernel source": kernel_fingerprint(study.kernel)}
    there = spec.environment.known | {"kernel source": spec.kernel_fingerprint}
    if changed := [f"{name} {there.get(name)} -> {here[name]}" for name in here if here[name] != there.get(name)]:
        raise InputError(
            f"study {study.name} was created elsewhere: {', '.join(changed)}; create a new study here "
            "(study create ... --tag NAME), or mix the measurements with --allow-env-change"
        )
