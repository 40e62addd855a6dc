"""Kinds of group: found in kernels' folders, without torch, and what they say of kernels and paths."""

from __future__ import annotations

import subprocess
import sys

import pytest

from autotune.contract import groups, registry
from autotune.errors import InputError


def test_what_is_asked_for_is_tuned_and_auto_is_the_servers_choice() -> None:
    kind = groups.find("fused_moe_lora")
    assert kind is not None
    assert kind.path(groups.AUTO, {"lora_rank": 128}) == "one-shot"
    assert kind.path(groups.AUTO, {"lora_rank": 256}) == "two-kernel"
    assert kind.path(groups.AUTO, {"lora_rank": 16, "fully_sharded": 1}) == "two-kernel"
    assert kind.path("two-kernel", {"lora_rank": 16}) == "two-kernel"


def test_all_members_are_kernels_of_their_kind() -> None:
    for kind in groups.kinds():
        for path, members in kind.members.items():
            assert path in groups.paths()
            for name in members:
                assert registry.load(name).name == name
                assert groups.kind_of(name) == (kind, path)


def test_a_kernel_of_no_group() -> None:
    assert groups.find("lora_shrink") is None
    assert groups.membership("lora_shrink") is None
    assert not groups.concerns("lora_shrink")
    with pytest.raises(InputError, match="got kernel 'lora_shrink', allowed: fused_moe_lora_gate_up_shrink"):
        groups.kind_of("lora_shrink")


def test_kinds_are_found_without_torch() -> None:
    code = "import sys; from autotune.contract import groups; assert groups.kinds(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
