"""The groups that a server's process says it is in."""

from __future__ import annotations

import sys
import types

import pytest

from autotune.servers.plugin import groups


def test_a_group_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("servers_groups")
    assert groups.size(module.__name__, "get_tp_group") is None
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert groups.size(module.__name__, "get_tp_group") is None
    module.get_tp_group = lambda: types.SimpleNamespace(world_size=8)  # type: ignore[attr-defined]
    module.get_ep_group = lambda: types.SimpleNamespace(world_size=None)  # type: ignore[attr-defined]
    found = groups.details(
        tp=groups.size(module.__name__, "get_tp_group"), expert_gpus=groups.size(module.__name__, "get_ep_group")
    )
    assert found == (("tp", 8),)
