"""A simulated fortnight: nothing is told of a calm week, and each planted cause once, by mail and webhook."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
from apprise import NotifyBase
from pydantic import SecretStr
from typer.testing import CliRunner

from quant_assets.cli.app import app
from quant_assets.defs.alerts.watch import look, remembered, rules_of
from quant_assets.defs.jobs import PRICES_ALONE
from quant_assets.exchanges import enabled
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.notify import channels
from quant_assets.resources.settings import SettingsError, load_settings
from quant_assets_tests.defs.alerts.receivers import smtp, webhook
from quant_assets_tests.defs.platform import Platform
from quant_assets_tests.support import days_between


def evening(day: date) -> datetime:
    """After New York's close and delay, before the hour in which the day's prices are due has passed."""
    return datetime(day.year, day.month, day.day, 21, 40, tzinfo=UTC)


def test_a_calm_week_is_silent_and_each_planted_cause_is_told_once_by_mail_and_webhook(
    platform: Platform, market: ReplayHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of any service apprise asks only every five seconds; ours are our own.
    monkeypatch.setattr(NotifyBase, "request_rate_per_sec", 0)
    with smtp() as mail, webhook() as hook:
        settings = platform.settings.model_copy(
            update={
                "alert_urls": SecretStr(f"{mail.url} {hook.url}"), "alert_held": 1, "alert_waiting_runs": 3,
                "exchanges": ("US",),
            }
        )  # fmt: skip
        rules = rules_of(settings, enabled(settings.exchanges, None))
        told = channels(settings)
        ran = timedelta()

        def see(now: datetime) -> list[str]:
            looked = look(platform.instance, platform.store, rules, told, now, datetime.now(UTC) + ran)
            return [alert.kind.value for alert in looked.told]

        def update(day: date, **more: object) -> dg.ExecuteInProcessResult:
            market.set_clock(evening(day))
            at = Platform(settings.model_copy(update={"now": evening(day), **more}), platform.instance)
            return at.defs.resolve_job_def("daily_prices_us").execute_in_process(
                instance=platform.instance, partition_key=f"{day}|US", raise_on_error=False,
                asset_selection=PRICES_ALONE,
            )  # fmt: skip

        market.set_clock(evening(date(2013, 2, 8)))
        platform.follow(US=["AAPL", "IBM"])
        update(date(2013, 2, 8))

        # A calm week, and the Monday after it, on which New York does not trade.
        for day in days_between(date(2013, 2, 11), date(2013, 2, 18)):
            start = datetime(day.year, day.month, day.day, tzinfo=UTC)
            for hour in (0, 6, 12, 18, 21):
                assert see(start + timedelta(hours=hour)) == []
            if day.day != 18:
                assert update(day).success
            assert see(start + timedelta(hours=22, minutes=30)) == []
        # But the digest of every morning from the second one on.
        assert len(mail.messages) == len(hook.messages) == 5
        assert {title for title, _ in mail.messages} == {
            f"quant-assets: 2013-02-{day}: all is well" for day in (12, 13, 14, 15, 18)
        }
        mail.messages.clear()
        hook.messages.clear()

        # Nobody asks on Tuesday.
        tuesday, wednesday, thursday = (date(2013, 2, day) for day in (19, 20, 21))
        assert see(evening(tuesday)) == []
        assert see(evening(tuesday) + timedelta(minutes=30)) == ["data stale"]
        # On Wednesday a symbol has no bar, which a minimum that is set later takes for too few.
        market.add_faults(
            {"kind": "missing_session", "date": str(wednesday), "symbol": "IBM", "times": "persistent"}
        )
        update(wednesday)
        assert see(evening(wednesday)) == ["run partial"]
        assert see(evening(wednesday) + timedelta(minutes=2)) == []
        rules = rules_of(settings.model_copy(update={"min_coverage": {"*": 95.0}}), rules.exchanges)
        assert see(evening(wednesday) + timedelta(minutes=4)) == ["coverage low"]
        # On Thursday the source is away, and then it is not.
        update(thursday, source_url="http://127.0.0.1:9")
        assert see(evening(thursday)) == ["run failed"]
        assert update(thursday).success
        # On Friday a bar makes no sense.
        friday = date(2013, 2, 22)
        market.add_faults(
            {"kind": "corrected_bar", "symbol": "AAPL", "date": str(friday), "field": "low", "value": 900.0}
        )
        update(friday)
        assert sorted(see(evening(friday))) == ["coverage low", "quarantine grows", "run partial"]
        # A webhook that is gone loses nothing, and the mail tells of it.
        hook.dead = True
        job = platform.defs.resolve_job_def("sweep_us")
        queued = [
            platform.instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED)
            for _ in range(3)
        ]
        assert see(evening(friday) + timedelta(minutes=2)) == ["runs wait"]
        assert see(evening(friday) + timedelta(minutes=4)) == ["channel dead"]
        started = platform.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTING)
        platform.instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.PIPELINE_START.value, job_name=job.name), started.run_id
        )
        ran = timedelta(minutes=21)
        assert see(evening(friday) + timedelta(minutes=25)) == ["run takes long"]
        hook.dead = False
        for run in (*queued, started):
            platform.instance.delete_run(run.run_id)
        assert see(evening(friday) + timedelta(minutes=30)) == []
        for minutes in range(32, 60, 6):
            assert see(evening(friday) + timedelta(minutes=minutes)) == []
        # A run whose process was killed, as the daemon ends it: without more than a message.
        killed = platform.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        platform.instance.report_run_failed(killed, "it was killed")
        ran = timedelta(minutes=22)
        assert see(evening(friday) + timedelta(minutes=60)) == ["run failed"]
        assert "sweep_us: it was killed." in mail.messages[-1][1]

        assert mail.titles() == hook.titles()
        digests = {title: body for title, body in mail.messages if title.startswith("quant-assets: 2013")}
        assert [title for title in mail.titles() if not title.startswith("2013")] == [
            "data stale: US 2013-02-19", "run partial: daily_prices_us 2013-02-20|US", "coverage low: US 2013-02-20",
            "run failed: daily_prices_us 2013-02-21|US", "3 alerts: coverage low, quarantine grows, run partial",
            "runs wait: queue", "channel dead: 2 (json)", f"run takes long: sweep_us {started.run_id[:8]}",
            "run failed: sweep_us",
        ]  # fmt: skip
        assert not any("s3cret" in body for _, body in (*mail.messages, *hook.messages))
        title, morning = list(digests.items())[2]
        print(title, morning, sep="\n")
        assert title == "quant-assets: 2013-02-21: 1 open"
        assert (
            morning.splitlines()[0]
            == "US: 2013-02-20 partial, 1 of 2 symbols; last five complete=4 partial=1"
        )
        assert (
            "- open since 2013-02-20T21:44Z: coverage low: US 2013-02-20: 1 of 2 symbols (50.0 %" in morning
        )

        # The sensor and the command line go on from there.
        memory = remembered(platform.instance)
        assert memory.undelivered == memory.dead == {}


def test_an_address_that_is_none_is_refused_without_being_shown(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for urls, said in {
        "mailto://u:s3cret@example.com nonsense-s3cret": "address 2 of 2 (it has no scheme such as mailto://)",
        "foo://s3cret": "address 1 of 1 (foo://…)",
        "slack://s3cret": "address 1 of 1 (slack://…)",
    }.items():
        monkeypatch.setenv("QUANT_ASSETS_ALERT_URLS", urls)
        settings = load_settings()
        with pytest.raises(SettingsError) as refused:
            channels(settings)
        assert said in str(refused.value)
        for shown in (str(refused.value), repr(settings), str(settings)):
            assert "s3cret" not in shown
    result = CliRunner().invoke(app, ["alerts", "test"])
    assert isinstance(result.exception, SettingsError)
    # Runs go on: the code location loads, and the sensor's tick says why it told nobody.
    broken = Platform(settings.model_copy(update={"home": platform.settings.home}), platform.instance)
    with pytest.raises(SettingsError):
        broken.sense("alerts", None)
    assert "QUANT_ASSETS_ALERT_URLS" in str(platform.sense("alerts", None))


def test_the_command_line_tests_channels_looks_once_and_lists(
    platform: Platform, market: ReplayHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(command: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["alerts", command])
        return result.exit_code, result.stdout

    settings = platform.settings
    platform.follow(US=["AAPL"])
    platform.days(date(2013, 2, 14), date(2013, 2, 14))
    with webhook() as hook:
        for name, value in {
            "HOME": str(settings.home), "EXCHANGES": "US", "NOW": "2013-02-15T23:00:00Z", "ALERT_URLS": hook.url,
            "ALERT_QUIET": "22:00-07:00",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
        assert call("test") == (0, "channel 1 (json) took the message\n")
        # 18:00 in New York, and no price of the day.
        assert call("check") == (0, "alerts: 1 found, 1 told; data stale: US 2013-02-15\n")
        assert call("check") == (0, "alerts: 1 found, 0 told\n")
        assert "data stale  US 2013-02-15" in call("list")[1]
        hook.dead = True
        assert call("test")[0] == 1
        monkeypatch.setenv("QUANT_ASSETS_NOW", "2013-02-19T23:00:00Z")
        code, said = call("check")
        assert (code, "channel 1 (json) takes no messages" in said) == (2, True)
        assert hook.titles() == ["test", "data stale: US 2013-02-15"]
        assert hook.kinds == ["info", "warning"]
    monkeypatch.setenv("QUANT_ASSETS_ALERT_URLS", "")
    assert "nobody is told" in str(CliRunner().invoke(app, ["alerts", "check"]).exception)
