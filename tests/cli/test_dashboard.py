"""What stock optuna-dashboard shows of a finished study, asked over HTTP; and that ours stays on this machine."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.util import setup_testing_defaults

import pytest
from optuna.storages import BaseStorage

from autotune.cli.dashboard_server import Guard
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

    def study(self, name: str, part: str = "") -> Any:
        (found,) = [s for s in self.get("/api/studies")["study_summaries"] if s["study_name"] == name]
        return self.get(f"/api/studies/{found['study_id']}{part}")


@pytest.fixture
def dashboard(finished: Cli) -> Iterator[Client]:
    """Returns a served dashboard on a storage with two finished studies."""
    import optuna_dashboard  # here, as it takes a second to load, and not every worker runs these tests

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


def test_importance_is_of_all_timed_trials_and_says_something(dashboard: Client) -> None:
    states = [trial["state"] for trial in dashboard.study(SHRINK)["trials"]]
    assert set(states) <= {"Complete", "Fail"}
    (found,) = dashboard.study(SHRINK, "/param_importances")["param_importances"]
    importance = {each["name"]: each["importance"] for each in found}
    assert set(importance) == {"block_k", "block_m", "block_n", "num_stages", "num_warps", "split_k"}
    assert max(importance.values()) > 0.1


def test_axes_are_in_order(dashboard: Client) -> None:
    space = {each["name"]: each["distribution"] for each in dashboard.study(SHRINK)["union_search_space"]}
    assert {each["type"] for each in space.values()} == {"IntDistribution"}
    assert space["block_m"]["log"]
    assert not space["num_stages"]["log"]


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


class Ours:
    """The dashboard of ours, started by its command line up to serving, asked as a browser would."""

    def __init__(self, storage: BaseStorage, read_only: bool) -> None:
        import optuna_dashboard

        self._application = Guard(optuna_dashboard.wsgi(storage), read_only)

    def ask(self, method: str, path: str, **headers: str) -> str:
        """Returns the status of an answer."""
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path}
        environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        setup_testing_defaults(environ)
        if "host" not in headers:
            del environ["HTTP_HOST"]
        told: list[str] = []

        def start_response(status: str, headers: object, error: object = None) -> Callable[[bytes], object]:
            told.append(status)
            return lambda _: None

        b"".join(self._application(environ, start_response))
        return told[0].partition(" ")[0]


@pytest.fixture(params=[False, True], ids=["", "read-only"])
def ours(finished: Cli, request: pytest.FixtureRequest) -> Iterator[Ours]:
    storage = open_storage(finished.url)
    yield Ours(storage, request.param)
    storage.engine.dispose()  # type: ignore[attr-defined]


HERE = ["127.0.0.1", "127.0.0.1:8080", "localhost:9090", "[::1]:8080"]
ELSEWHERE = ["evil.example", "evil.example:8080", "127.0.0.1.evil.example:8080", "localhost.evil", "127.0.0.1@evil", ""]


@pytest.mark.parametrize("host", HERE)
def test_this_machine_is_answered_on_any_forwarded_port(ours: Ours, host: str) -> None:
    assert ours.ask("GET", "/api/studies", host=host) == "200"
    assert ours.ask("GET", "/api/studies", host=host, origin=f"http://{host}") == "200"


@pytest.mark.parametrize("host", ELSEWHERE)
@pytest.mark.parametrize(("method", "path"), [("GET", "/api/studies"), ("DELETE", "/api/studies/1")])
def test_a_request_by_another_name_is_refused(ours: Ours, finished: Cli, host: str, method: str, path: str) -> None:
    assert ours.ask(method, path, host=host) == "403"
    assert ours.ask(method, path, host=HERE[0], origin=f"http://{host}") == "403"
    assert SHRINK in finished.ok("study list")


def test_a_request_without_a_host_is_refused(ours: Ours) -> None:
    assert ours.ask("GET", "/api/studies") == "403"


def test_only_a_dashboard_that_is_not_read_only_deletes(
    ours: Ours, finished: Cli, request: pytest.FixtureRequest
) -> None:
    read_only = "read-only" in request.node.name
    assert ours.ask("DELETE", "/api/studies/1", host=HERE[0]) == ("403" if read_only else "204")
    assert (SHRINK in finished.ok("study list")) == read_only


@pytest.mark.parametrize("flag", ["", "--read-only"])
def test_ours_is_on_this_machine_only(finished: Cli, monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    made: list[tuple[str, bool]] = []

    def make_server(host: str, port: int, application: Guard, **options: Any) -> contextlib.AbstractContextManager[Any]:
        made.append((host, application._read_only))
        return contextlib.nullcontext(SimpleNamespace(server_port=port, serve_forever=lambda: None))

    monkeypatch.setattr("autotune.cli.dashboard_server.make_server", make_server)
    assert "http://127.0.0.1:9090/" in finished.ok("dashboard --port 9090", flag)
    assert made == [("127.0.0.1", bool(flag))]
    assert finished("dashboard --host 0.0.0.0").exit_code == 2
