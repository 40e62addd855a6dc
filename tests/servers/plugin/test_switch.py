"""What the switch of the plug-in may say."""

from __future__ import annotations

import pytest

from autotune.servers import places
from autotune.servers.plugin import switch


@pytest.mark.parametrize("text", [None, "", "0", " ", "0,", ","])
def test_it_is_off(text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if text is not None:
        monkeypatch.setenv(places.SWITCH, text)
    assert switch.read() == switch.Switch()


@pytest.mark.parametrize(
    ("text", "families"),
    [
        ("1", {"dense", "moe"}),
        ("dense", {"dense"}),
        ("moe,dense", {"dense", "moe"}),
        (" Dense , dense ", {"dense"}),
        ("0,1", {"dense", "moe"}),
    ],
)
def test_it_names_families(text: str, families: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.SWITCH, text)
    assert switch.read() == switch.Switch(frozenset(families))


def test_unknown_words_are_told_and_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.SWITCH, "dense,true,fast,true")
    found = switch.read()
    assert found.families == {"dense"}
    assert found.ignored == "LORA_AUTOTUNE_KERNELS: got 'true', 'fast', allowed: 1, dense, moe; ignored"
