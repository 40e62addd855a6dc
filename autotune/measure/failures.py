"""Lists which exceptions of a config are predicted, and what they mean. What is not listed here is a bug and raises."""

from __future__ import annotations

import re

from autotune.measure.result import Measurement, Status

# CUDA keeps failing after these: the process that met one must be replaced.
_POISONED = re.compile(
    r"illegal memory access|misaligned address|illegal instruction|unspecified launch failure"
    r"|device-side assert|invalid program counter|invalid address space|hardware stack error|launch timed out"
)
_RESOURCES = re.compile(r"out of resource|too many resources requested|exceeds? .*shared memory|register allocation")
_COMPILER = re.compile(r"PassManager::run failed|ptxas|LLVM ERROR|failed to translate|Cannot allocate register")
_COMPILER_TYPES = frozenset({"CompilationError", "CompileTimeAssertionFailure", "UnsupportedLanguageConstruct"})


def classify(error: BaseException) -> Status | None:
    """Returns the failure class of an exception raised by compiling or launching a config; None if nobody predicted
    it."""
    kind, text = type(error).__name__, str(error)
    if kind == "OutOfResources" or _RESOURCES.search(text):
        return "out_of_resources"
    if kind == "PTXASError" or kind in _COMPILER_TYPES or _COMPILER.search(text):
        return "compile_error"
    if _POISONED.search(text) or kind == "AcceleratorError":
        return "crashed"
    return None


def failure(error: BaseException) -> Measurement:
    """Returns the exception as a measurement.

    Raises:
        BaseException: The very error, if it is not a predicted failure.
    """
    status = classify(error)
    if status is None:
        raise error
    return Measurement(status, message=one_line(error))


def one_line(error: BaseException, limit: int = 300) -> str:
    """Returns the type and last line of an error's text: compilers put the source first and the reason last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[-1]}"[:limit]
