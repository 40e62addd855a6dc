"""Launches that come up before the one ahead has ended see the same memory as any other."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import triton
from triton.backends.compiler import GPUTarget

from autotune.kernels.common import dependent_launch as module
from autotune.kernels.common.dependent_launch import SWITCH, dependent_launch
from tests.builders.child import run_compiling

ON = {"DEPENDENT": True, "launch_pdl": True}
OFF = {"DEPENDENT": False}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    module._is_wanted.cache_clear()
    yield
    module._is_wanted.cache_clear()


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (GPUTarget("cuda", 80, 32), OFF),
        (GPUTarget("cuda", 90, 32), ON),
        (GPUTarget("cuda", 120, 32), ON),
        (GPUTarget("hip", "gfx950", 64), OFF),
    ],
)
@pytest.mark.usefixtures("compiled")
def test_each_gpu_that_can_do_it_does(
    monkeypatch: pytest.MonkeyPatch, target: GPUTarget, options: dict[str, bool]
) -> None:
    driver = SimpleNamespace(active=SimpleNamespace(get_current_target=lambda: target))
    monkeypatch.setattr(triton.runtime, "driver", driver)
    assert dependent_launch() == options


@pytest.mark.usefixtures("compiled")
def test_a_user_may_switch_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    assert dependent_launch() == OFF


def test_the_interpreter_knows_none_of_it(device: str) -> None:
    if device == "cuda":
        pytest.skip("kernels are compiled here")
    assert dependent_launch() == OFF


COMPILE = """
import sys
from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.measure import compiling
from autotune.testing.problems import problems_of

compiling._target_only_driver(H200)
for name in sys.argv[1:]:
    kernel = registry.load(name)
    problem = problems_of(kernel)[0]
    for launch in kernel.launches(kernel.make_inputs(problem, "meta", 0), kernel.default_config(problem, H200)):
        compiled = launch.warmup()
        ptx = compiled.asm["ptx"]
        touched = [place for word in ("ld.global", "cp.async", "st.global", "atom.") if (place := ptx.find(word)) >= 0]
        waits = 0 <= ptx.find("griddepcontrol.wait") < min(touched)
        print(name, launch.fn.__name__, compiled.metadata.launch_pdl, waits)
"""


def test_a_compiled_kernel_waits_before_it_touches_memory() -> None:
    kernels = {
        "lora_shrink": ["zero_kernel", "lora_shrink_kernel"],
        "lora_expand": ["lora_expand_kernel"],
        "lora_linear": ["zero_kernel", "lora_shrink_kernel", "lora_expand_kernel"],
    }
    process = run_compiling(COMPILE, *kernels)
    launched = [f"{name} {launch} True True" for name, launches in kernels.items() for launch in launches]
    assert process.stdout.splitlines() == launched, process.stderr
