"""Defines what a kernel signs, as plain data and protocols, and finds kernels."""

from __future__ import annotations

from autotune.contract.call import Call, CallKey
from autotune.contract.config import Config, ConfigKey, Parameter, Value, config_key
from autotune.contract.gpu import Gpu
from autotune.contract.kernel import AnyKernel, Kernel
from autotune.contract.launch import Expected, Launch
from autotune.contract.problem import Floor, Problem, Workload, dtype_name

__all__ = [
    "AnyKernel",
    "Call",
    "CallKey",
    "Config",
    "ConfigKey",
    "Expected",
    "Floor",
    "Gpu",
    "Kernel",
    "Launch",
    "Parameter",
    "Problem",
    "Value",
    "Workload",
    "config_key",
    "dtype_name",
]
