"""The one form of a config that is compared and looked up by."""

from __future__ import annotations

from types import MappingProxyType

from autotune.contract import config_key


def test_equal_configs_have_equal_keys_whatever_their_order_and_type() -> None:
    config = {"num_warps": 4, "block_m": 16, "maxnreg": None}
    other = MappingProxyType({"maxnreg": None, "block_m": 16, "num_warps": 4})
    assert config_key(config) == config_key(other)
    assert hash(config_key(config)) == hash(config_key(other))
    assert dict(config_key(config)) == config


def test_configs_that_differ_have_other_keys() -> None:
    keys = {config_key(c) for c in ({"block_m": 16}, {"block_m": 32}, {"block_n": 16}, {"block_m": None}, {})}
    assert len(keys) == 5
