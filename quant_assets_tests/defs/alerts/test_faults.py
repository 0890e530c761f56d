"""What goes wrong with alerts themselves: channels that hang, clocks, many at once, a store that cannot be read."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from quant_assets.defs.alerts import watch
from quant_assets.defs.alerts.alert import Alert, Kind, Memory
from quant_assets.defs.alerts.decisions import decide, digest, in_the_past, message
from quant_assets.defs.alerts.found import ended
from quant_assets.defs.alerts.watch import deliver, look, remembered, rules_of
from quant_assets.defs.run_outcomes import RunOutcome
from quant_assets.exchanges import enabled
from quant_assets.resources import notify
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.notify import Channel, channels
from quant_assets.resources.settings import Settings
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.defs.alerts.receivers import webhook
from quant_assets_tests.filled import bars, cell

NOW = datetime(2024, 3, 15, 12, tzinfo=UTC)
STALE = Alert(Kind.STALE, "US 2024-03-14", "late", "US")
FAILED = Alert(Kind.FAILED, "daily_prices_us", "no", "US")


@contextmanager
def dripping() -> Iterator[str]:
    """An SMTP server that greets for ever, a letter at a time, within each time-out; its address for apprise."""
    over = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while not over.wait(0.1):
                self.request.sendall(b"2")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"mailto://a.example:{server.server_address[1]}?smtp=127.0.0.1&from=a@a.example&to=b@a.example"
        over.set()
        server.shutdown()
        thread.join()


def of(*urls: str) -> list[Channel]:
    return channels(Settings(alert_urls=SecretStr(" ".join(urls))))


def test_a_server_that_never_comes_to_an_end_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_MOST_SECONDS", 1.0)
    memory = Memory()
    with dripping() as url, webhook() as hook:
        began = time.monotonic()
        deliver(memory, of(url, hook.url, url, "json://127.0.0.1:9/s3cret"), [("a", "b")])
        assert time.monotonic() - began < 5
    assert hook.messages == [("a", "b")]
    assert memory.dead == {
        **dict.fromkeys(("1 (mailto)", "3 (mailto)"), "no answer within 1 s"),
        "4 (json)": "A Connection error occurred sending JSON notification to 127.0.0.1.",
    }
    assert memory.undelivered["1 (mailto)"] == [("a", "b")]


def test_what_is_left_of_many_messages_is_sent_by_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_DELIVERY_SECONDS", 0.0)
    memory = Memory(undelivered={"1 (json)": [("1", "x"), ("2", "x")]})
    with webhook() as hook:
        (told,) = of(hook.url)
        deliver(memory, [told], [("3", "x")])
        assert (hook.messages, memory.undelivered) == ([("1", "x")], {"1 (json)": [("2", "x"), ("3", "x")]})
        deliver(memory, of(hook.url), [])
        deliver(memory, of(hook.url), [])
    assert (hook.titles(), memory.undelivered, memory.dead) == (["1", "2", "3"], {}, {})


def test_of_ten_thousand_alerts_a_message_and_the_digest_name_the_first_and_how_many_more() -> None:
    alerts = [replace(FAILED, subject=f"job {n}") for n in range(10_000)]
    title, body = message(alerts)
    assert title == "quant-assets: 10000 alerts: run failed"
    assert body.splitlines()[-1] == "- and 9950 more: `quant-assets alerts list`"
    memory = Memory()
    assert len(decide(memory, alerts, NOW, set())) == 10_000
    _, summary = digest(memory, NOW, {}, {}, 0)
    assert len(summary.splitlines()) < 60
    assert "alerts of the last day: 10000, open now: 0" in summary
    (alert,) = ended([RunOutcome("a" * 8, "j", "FAILED", error="SYMBOL, " * 10_000)])
    assert len(alert.text) < 600


def test_a_clock_that_was_a_day_ahead_hides_nothing_once_it_is_right() -> None:
    ahead, memory = NOW + timedelta(days=1), Memory()
    decide(memory, [STALE, FAILED], ahead, set())
    decide(memory, [], ahead, set())
    memory.runs_after = ahead.timestamp()
    in_the_past(memory, NOW, NOW)
    assert memory.runs_after == NOW.timestamp()
    # As if it had been told now: the same one for hours, and then another.
    assert decide(memory, [STALE], NOW, set()) == []
    assert decide(memory, [], NOW, set()) == []
    assert decide(memory, [STALE, FAILED], NOW + timedelta(hours=24.1), set()) == [STALE, FAILED]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


def test_a_run_is_told_of_whose_machine_has_a_clock_that_is_behind(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    rules = rules_of(Settings(home=tmp_path, exchanges=("US",)), [])
    store = LocalObjectStore(tmp_path / "store")
    job = dg.GraphDefinition("job").to_job()

    def fails(at: datetime) -> None:
        run = instance.create_run_for_job(job, tags={"at": str(at)})
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_FAILURE.value, "job", message=f"at {at:%H:%M:%S}")
        # As the machine of the run says it is.
        instance.run_storage.handle_run_event(run.run_id, event, at)

    def seen(at: datetime) -> list[str]:
        return [alert.text for alert in look(instance, store, rules, [], at, at).found]

    assert seen(NOW) == []
    fails(NOW + timedelta(minutes=20))
    assert len(seen(NOW + timedelta(minutes=21))) == 1
    fails(NOW + timedelta(minutes=19))
    assert len(seen(NOW + timedelta(minutes=23))) == 1
    assert seen(NOW + timedelta(minutes=25)) == []
    # By a clock that is ahead, which hides none that ends before.
    fails(NOW + timedelta(days=1))
    assert len(seen(NOW + timedelta(minutes=26))) == 1
    fails(NOW + timedelta(minutes=27))
    assert len(seen(NOW + timedelta(minutes=28))) == 1


def test_what_cannot_be_read_of_an_exchange_hides_no_other_and_the_digest_says_so(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, exchanges=("ASX", "US"))
    rules = rules_of(settings, enabled(settings.exchanges, None))
    store = LocalObjectStore(tmp_path / "store")
    days = [date(2024, 3, 13), date(2024, 3, 14)]
    for code in settings.exchanges:
        Manifest(store, "daily_prices").record(code, [cell(day, bars(day, ["A"])) for day in days])
    key = Manifest(store, "daily_prices").shard_key("ASX", 2024)
    store.put(key, store.get(key).data.replace(b'"received":[1', b'"received":["1"'))
    with webhook() as hook:
        for at in (NOW - timedelta(days=1), NOW):
            looked = look(instance, store, rules, of(hook.url), at, at)
        assert looked.digest
        assert hook.titles() == [f"store unreadable: {store.location}", "2024-03-15: 1 open"]
    assert remembered(instance).alerts.keys() == {f"store unreadable|{store.location}"}
    lines = hook.messages[-1][1].splitlines()
    assert set(lines[:2]) == {
        "US: 2024-03-14 complete, 1 of 1 symbols; last five complete=2",
        "ASX: could not be read",
    }
    assert lines[3] == "held in quarantine: 0, and what ASX may have"


def test_two_looks_at_once_tell_an_alert_once(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, exchanges=("US",), alert_waiting_runs=1)
    rules, store = rules_of(settings, []), LocalObjectStore(tmp_path / "store")
    instance.create_run_for_job(dg.GraphDefinition("job").to_job(), status=dg.DagsterRunStatus.NOT_STARTED)
    with webhook() as hook:
        looks = [
            threading.Thread(target=look, args=(instance, store, rules, of(hook.url), NOW)) for _ in "ab"
        ]
        for one in looks:
            one.start()
        for one in looks:
            one.join()
    assert hook.titles() == ["runs wait: queue"]
