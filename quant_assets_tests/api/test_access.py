"""Who may do what: open reading on loopback, keys and their scopes, limits, and that no key is ever shown."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel
from starlette.testclient import TestClient

from quant_assets.api.access import Access, Caller, admit_to_route, refuse_open_routes, require
from quant_assets.api.app import create_app
from quant_assets.api.problems import register
from quant_assets.operations.keys import KeyRing, Scope, add_key, new_key, revoke_key
from quant_assets.resources.settings import Settings

MADE: dict[Scope, tuple[str, str]] = {
    scope: (text, key.entry())
    for scope, (text, key) in ((s, new_key(f"my-{s}", s)) for s in ("read", "operate", "admin"))
}
"""By scope: a key, and what is kept of it."""
KEYS = ",".join(entry for _, entry in MADE.values())


class Order(BaseModel):
    """A body."""

    what: str


def app_with(settings: Settings, *, open_reading: bool = True) -> FastAPI:
    """Routes of each scope, and one that breaks."""
    app = FastAPI()
    register(app, admit_to_route)
    app.state.access = Access(settings, open_reading=open_reading)

    @app.get("/read", dependencies=[Depends(require("read"))])
    def read() -> str:
        return "read"

    @app.post("/operate")
    def operate(caller: Caller = Depends(require("operate"))) -> str:  # noqa: B008
        return caller.name

    @app.post("/order")
    def order(body: Order, caller: Caller = Depends(require("operate"))) -> str:  # noqa: B008
        return f"{caller.name} {body.what}"

    @app.delete("/admin")
    def admin(caller: Caller = Depends(require("admin"))) -> str:  # noqa: B008
        return caller.name

    @app.get("/broken", dependencies=[Depends(require("read"))])
    def broken(request: Request) -> None:
        headers = dict(request.headers)
        raise RuntimeError(f"a fault, {len(headers)} headers")

    refuse_open_routes(app)
    return app


def client_at(address: str, app: FastAPI, name: str = "localhost") -> TestClient:
    return TestClient(app, base_url=f"http://{name}", client=(address, 40000), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client() -> TestClient:
    return client_at("127.0.0.1", app_with(Settings(api_keys=KEYS)))


def bearer(scope: Scope) -> dict[str, str]:
    return {"Authorization": f"Bearer {MADE[scope][0]}"}


@pytest.mark.parametrize(
    ("method", "path", "scope", "status"),
    [
        ("GET", "/read", None, 200), ("GET", "/read", "read", 200), ("GET", "/read", "admin", 200),
        ("POST", "/operate", None, 401), ("POST", "/operate", "read", 403), ("POST", "/operate", "operate", 200),
        ("POST", "/operate", "admin", 200),
        ("DELETE", "/admin", None, 401), ("DELETE", "/admin", "read", 403), ("DELETE", "/admin", "operate", 403),
        ("DELETE", "/admin", "admin", 200),
    ],
)  # fmt: skip
def test_each_scope_may_what_it_says(
    client: TestClient, method: str, path: str, scope: Scope | None, status: int
) -> None:
    answer = client.request(method, path, headers=bearer(scope) if scope else {})
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"] == 'Bearer realm="quant-assets"'
    if status == 403:
        assert f"my-{scope} has {scope}" in answer.json()["detail"]
        assert "insufficient_scope" in answer.headers["www-authenticate"]
    if status == 200 and method != "GET":
        assert answer.json() == f"my-{scope}"
    if scope:
        same = client.request(method, path, headers={"X-API-Key": MADE[scope][0]})
        assert same.status_code == status


@pytest.mark.parametrize("body", [b'{"what"', b"\xff\xfe", b"[]", b'{"what": "all"}'])
def test_who_may_not_is_told_so_before_what_is_wrong_with_the_body(client: TestClient, body: bytes) -> None:
    def status(scope: Scope | None) -> int:
        headers = {"Content-Type": "application/json", **(bearer(scope) if scope else {})}
        return client.post("/order", content=body, headers=headers).status_code

    assert (status(None), status("read")) == (401, 403)
    assert status("operate") in ((200,) if body.endswith(b"}") else (400, 422))


def test_an_unknown_key_is_refused_even_where_none_is_needed(client: TestClient) -> None:
    answer = client.get("/read", headers={"Authorization": "Bearer " + MADE["read"][0][:-1]})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    # A hash is no key.
    sha256 = MADE["admin"][1].rpartition(":")[2]
    assert client.delete("/admin", headers={"X-API-Key": sha256}).status_code == 401


@pytest.mark.parametrize(
    ("address", "name", "headers", "open_reading", "status"),
    [
        ("127.0.0.1", "localhost:8000", {}, True, 200),
        ("::1", "[::1]:8000", {}, True, 200),
        ("127.0.0.1", "desk.lan", {}, True, 200),
        ("127.0.0.1", "evil.example", {}, True, 401),
        ("192.168.1.9", "localhost", {}, True, 401),
        ("127.0.0.1", "localhost", {"X-Forwarded-For": "192.168.1.9"}, True, 401),
        ("127.0.0.1", "localhost", {"Forwarded": "for=192.168.1.9"}, True, 401),
        ("127.0.0.1", "localhost", {}, False, 401),
    ],
)
def test_reading_without_a_key_is_for_callers_of_this_machine(
    address: str, name: str, headers: dict[str, str], open_reading: bool, status: int
) -> None:
    app = app_with(Settings(api_keys=KEYS, api_hosts=("desk.lan",)), open_reading=open_reading)
    client = client_at(address, app, name)
    assert client.get("/read", headers=headers).status_code == status
    assert client.get("/read", headers=headers | bearer("read")).status_code == 200


def test_a_key_that_asks_too_often_waits_and_others_do_not() -> None:
    client = client_at("127.0.0.1", app_with(Settings(api_keys=KEYS, api_rate=8, api_operating_rate=3)))
    statuses = [client.post("/operate", headers=bearer("operate")).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    refused = client.post("/operate", headers=bearer("operate"))
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert "my-operate" in refused.json()["detail"]
    # What may not operate at all does not use up the allowance of what may, and reading has one of its own.
    assert client.get("/read", headers=bearer("operate")).status_code == 200
    assert client.post("/operate", headers=bearer("admin")).status_code == 200
    assert [client.get("/read").status_code for _ in range(20)] == [200] * 20


def test_a_key_is_in_no_log_and_no_answer(caplog: pytest.LogCaptureFixture, client: TestClient) -> None:
    with caplog.at_level(logging.DEBUG):
        texts = [
            client.request(method, path, headers=bearer("operate")).text
            for method, path in (
                ("GET", "/broken"),
                ("DELETE", "/admin"),
                ("GET", "/read"),
                ("GET", "/nowhere"),
            )
        ]
    everything = "\n".join([*texts, caplog.text, repr(Settings(api_keys=KEYS))])
    for text, entry in MADE.values():
        assert text not in everything
        assert entry.rpartition(":")[2] not in everything


def test_keys_of_a_file_come_and_go_while_the_service_runs(tmp_path: Path) -> None:
    file = tmp_path / "secret" / "keys"
    client = client_at("127.0.0.1", app_with(Settings(api_keys_file=file)))
    text, key = new_key("ci", "operate")
    headers = {"Authorization": f"Bearer {text}"}
    assert client.post("/operate", headers=headers).status_code == 401
    add_key(file, key)
    assert file.stat().st_mode & 0o077 == 0
    assert text not in file.read_text()
    assert client.post("/operate", headers=headers).status_code == 200
    add_key(file, new_key("other", "read")[1])
    revoke_key(file, "ci")
    assert client.post("/operate", headers=headers).status_code == 401
    assert [one.name for one in KeyRing("", file).all()] == ["other"]
    file.write_text("what is this\n")
    broken = client.post("/operate", headers=headers)
    assert broken.status_code == 503
    assert f"{file}, line 1: write name:scope:sha256" in broken.json()["detail"]


def test_a_route_that_changes_something_without_a_key_is_a_fault_of_the_program() -> None:
    app = app_with(Settings())

    @app.post("/open", dependencies=[Depends(require("read"))])
    def changing() -> None: ...

    with pytest.raises(RuntimeError, match="POST /open"):
        refuse_open_routes(app)
    # The application itself is looked at whenever it is made.
    create_app(Settings())


def test_pages_of_other_origins_are_let_in_by_name_alone(tmp_path: Path) -> None:
    asks = {"Origin": "https://desk.example", "Access-Control-Request-Method": "GET"}
    allowed = "access-control-allow-origin"
    none = TestClient(create_app(Settings(home=tmp_path)))
    some = TestClient(create_app(Settings(home=tmp_path, api_cors=("https://desk.example",))))
    assert allowed not in none.options("/v1/prices", headers=asks).headers
    assert some.options("/v1/prices", headers=asks).headers[allowed] == "https://desk.example"
    assert (
        allowed not in some.options("/v1/prices", headers=asks | {"Origin": "https://evil.example"}).headers
    )
