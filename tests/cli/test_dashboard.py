"""What stock optuna-dashboard shows of a finished study, asked over HTTP; and that ours stays on this machine."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna_dashboard
import pytest

from autotune.study.storage import open_storage

if TYPE_CHECKING:
    from tests.conftest import Cli

SHRINK = "lora_shrink-m16-k5120-n16-s1-l4-float16-NVIDIA_H200-replay"


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


class Client:
    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path) as answer:
            return json.load(answer)

    def study(self, name: str) -> Any:
        (found,) = [s for s in self.get("/api/studies")["study_summaries"] if s["study_name"] == name]
        return self.get(f"/api/studies/{found['study_id']}")


@pytest.fixture
def dashboard(finished: Cli) -> Iterator[Client]:
    """Returns a served dashboard on a storage with two finished studies."""
    storage = open_storage(finished.url)
    server = make_server("127.0.0.1", 0, optuna_dashboard.wsgi(storage), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield Client(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()
    storage.engine.dispose()  # type: ignore[attr-defined]


def test_studies_have_readable_names(dashboard: Client) -> None:
    names = [summary["study_name"] for summary in dashboard.get("/api/studies")["study_summaries"]]
    assert names == [SHRINK, "lora_expand-m16-k16-n5120-s1-l4-float16-NVIDIA_H200-replay"]


def test_parameters_have_their_own_values(dashboard: Client) -> None:
    for trial in dashboard.study(SHRINK)["trials"]:
        params = {param["name"]: int(param["param_external_value"]) for param in trial["params"]}
        assert set(params) == {"block_k", "block_m", "block_n", "num_stages", "num_warps", "split_k"}
        assert params["block_m"] in (16, 32, 64, 128, 256)
        assert params["num_warps"] in (1, 2, 4, 8)


def test_the_metric_has_a_name_with_its_unit(dashboard: Client) -> None:
    assert dashboard.study(SHRINK)["objective_names"] == ["median time (us)"]


def test_values_are_microseconds(dashboard: Client) -> None:
    default = dashboard.study(SHRINK)["trials"][0]
    assert default["state"] == "Complete"
    assert default["values"] == [pytest.approx(4.63)]
    assert len(default["intermediate_values"]) == 7


def test_failed_trials_say_why(finished: Cli, dashboard: Client) -> None:
    shown = dashboard.study(SHRINK)["trials"]
    attributes = [{a["key"]: a["value"] for a in trial["user_attrs"]} for trial in shown]
    stored = json.loads(finished.ok("study show --json", SHRINK))["trials"]
    assert [a["status"] for a in attributes] == [trial["status"] for trial in stored]
    failed = [a for a, trial in zip(attributes, shown, strict=True) if trial["state"] == "Fail"]
    assert failed, "the seed of the fixture should meet a failure"
    assert all(a["status"] == "out_of_resources" and a["message"] for a in failed)


def test_a_note_has_problem_and_versions(dashboard: Client) -> None:
    note = dashboard.study(SHRINK)["note"]["body"]
    for part in (SHRINK, "k 5120", "max_loras 4", "triton 3.6.0", "recordings of NVIDIA H200", "default: "):
        assert part in note


def test_a_study_has_its_note_from_the_start(finished: Cli, dashboard: Client) -> None:
    finished.ok("study create --tag new", finished.SHRINK)
    assert "k 5120" in dashboard.study(f"{SHRINK}-new")["note"]["body"]


def test_a_port_that_is_taken_is_named(finished: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = finished(f"dashboard --port {port}")
    assert refused.exit_code == 2
    assert f"--port: cannot listen on {port}" in refused.stderr


def test_ours_is_on_this_machine_only(finished: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(optuna_dashboard, "run_server", lambda storage, **options: calls.append(options))
    assert "http://127.0.0.1:9090/" in finished.ok("dashboard --port 9090")
    assert calls == [{"host": "127.0.0.1", "port": 9090}]
    assert finished("dashboard --host 0.0.0.0").exit_code == 2
