"""Lets a launch start before the one ahead of it in the stream has ended (programmatic dependent launch).

A launch costs 1 to 2 us in which the GPU does nothing: it starts once all blocks of the launch ahead have ended and
what they wrote is visible. A dependent launch is brought up meanwhile, and waits in its first instruction
(``griddepcontrol.wait``) for exactly that, so it sees the same memory as any other. It lets the next dependent launch
come up as soon as its own blocks run. (CUDA programming guide, "Programmatic Dependent Launch".)
"""

from __future__ import annotations

import functools
import os

import triton
import triton.language as tl

SWITCH = "LORA_AUTOTUNE_DEPENDENT_LAUNCH"
"""Set to 0 to have every launch wait for the one ahead before it is brought up."""

_FIRST_ARCH = 90
"""Hopper, compute capability 9.0."""


@triton.jit
def wait_for_launch_ahead():  # type: ignore[no-untyped-def]
    """Waits until the launch ahead has ended, and lets the next one come up.

    It is the first thing a kernel does, unless it knows what the launch ahead writes.
    """
    tl.extra.cuda.gdc_wait()
    tl.extra.cuda.gdc_launch_dependents()


def dependent_launch() -> dict[str, bool]:
    """Returns the options of a launch that say whether it is a dependent one: on each GPU that can do it."""
    dependent = not triton.knobs.runtime.interpret and _is_wanted()
    return {"DEPENDENT": dependent, "launch_pdl": True} if dependent else {"DEPENDENT": False}


@functools.cache
def _is_wanted() -> bool:
    """Asks the user's switch, then the driver: the one that launches, or the one that names a GPU to compile for."""
    if os.environ.get(SWITCH) == "0":
        return False
    target = triton.runtime.driver.active.get_current_target()
    return target.backend == "cuda" and isinstance(target.arch, int) and target.arch >= _FIRST_ARCH
