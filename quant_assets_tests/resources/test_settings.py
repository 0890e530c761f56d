"""Settings from the environment: defaults, every kind of value, and errors that say what to change."""

from __future__ import annotations

import math
import traceback
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from quant_assets.resources.clock import ClockResource
from quant_assets.resources.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"QUANT_ASSETS_{name.upper()}", raising=False)


def test_nothing_has_to_be_set() -> None:
    settings = load_settings()
    assert settings.exchanges == ("ASX", "US")
    assert settings.start == date(2000, 1, 3)
    assert settings.source_url == ""
    assert settings.universe_shrink == 10.0
    assert Path(settings.store_location) == Path(".quant-assets/store").absolute()
    assert settings.dagster_home == Path(".quant-assets/dagster").absolute()


def test_the_source_is_asked_gently_unless_told_otherwise() -> None:
    settings = load_settings()
    assert (settings.requests_per_second, settings.concurrency, settings.attempts) == (2.0, 4, 4)
    assert (settings.timeout_seconds, settings.rate_limit_budget_seconds) == (15.0, 300.0)
    assert (settings.retry_wait_seconds, settings.cool_down_seconds) == (0.5, 5.0)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("concurrency", 1, 64), ("attempts", 1, 20), ("look_back_sessions", 0, 25), ("requests_per_second", 0, None),
     ("rate_limit_budget_seconds", 0, None), ("retry_wait_seconds", 0, None), ("cool_down_seconds", 0, None),
     ("universe_shrink", 0, 100)],
)  # fmt: skip
def test_a_setting_has_its_bounds(
    monkeypatch: pytest.MonkeyPatch, name: str, least: int, most: int | None
) -> None:
    for value in (least, 1) if most is None else (least, most):
        monkeypatch.setenv(f"QUANT_ASSETS_{name.upper()}", str(value))
        assert getattr(load_settings(), name) == value
    for value in (least - 1,) if most is None else (least - 1, most + 1):
        monkeypatch.setenv(f"QUANT_ASSETS_{name.upper()}", str(value))
        with pytest.raises(SettingsError):
            load_settings()


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("OWNER", "me", "write an e-mail address, or team:name"),
        ("OWNER", "team:", "write an e-mail address, or team:name"),
        ("CODE_URL", "https://github.com/somebody/quant-assets", "write e.g. https://github.com/"),
        ("CODE_URL", "https://user:word@github.com/somebody/quant-assets/tree/main", "write e.g. https://"),
    ],
)
def test_an_owner_and_a_code_url_are_what_dagster_can_show(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
    with pytest.raises(SettingsError, match=f"QUANT_ASSETS_{name}=.*{remedy}"):
        load_settings()


@pytest.mark.parametrize("value", ["2013", "20130301", "1362178800", " -5.5 "])
def test_now_is_a_moment_and_no_number(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("QUANT_ASSETS_NOW", value)
    with pytest.raises(SettingsError, match=r"QUANT_ASSETS_NOW=.*2013-03-01T23:00:00Z"):
        load_settings()


def test_values_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "HOME": str(tmp_path),
        "EXCHANGES": " US, ASX ,US,,",
        "START": "2012-05-18",
        "REQUESTS_PER_SECOND": "0",
        "NOW": "2013-03-02T10:00:00+11:00",
    }.items():
        monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
    settings = load_settings()
    assert settings.exchanges == ("US", "ASX")
    assert settings.start == date(2012, 5, 18)
    assert settings.requests_per_second == 0
    assert settings.store_location == str(tmp_path / "store")
    assert settings.clock() == datetime(2013, 3, 1, 23, tzinfo=UTC)
    assert settings.clock().tzinfo is UTC


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://me:S3CRET@prices.example", "holds a user name or password"),
        ("https://S3CRET@prices.example", "holds a user name or password"),
        ("me:S3CRET@prices.example", "write http://host"),
        ("https://prices.example/?token=S3CRET", "write http://host"),
        ("https://prices.example:S3CRET/", "write http://host"),
        ("ftp://S3CRET.example", "write http://host"),
        ("http://S3CRET .example", "write http://host"),
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, address: str, words: str
) -> None:
    monkeypatch.setenv("QUANT_ASSETS_SOURCE_URL", address)
    with pytest.raises(SettingsError, match=f"^QUANT_ASSETS_SOURCE_URL: .*{words}") as refused:
        load_settings()
    assert "S3CRET" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:8765", "https://mirror.example/yahoo/"])
def test_a_plain_address_is_taken(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("QUANT_ASSETS_SOURCE_URL", address)
    assert load_settings().source_url == address


def test_a_store_of_its_own_wins_over_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_ASSETS_STORE", "/data/tables")
    assert load_settings().store_location == "/data/tables"


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("EXCHANGES", " , ", "at least one exchange"),
        ("START", "2013-02-30", "date"),
        ("START", "soon", "date"),
        ("REQUESTS_PER_SECOND", "-1", "greater than or equal to 0"),
        ("REQUESTS_PER_SECOND", "fast", "number"),
        ("REQUESTS_PER_SECOND", "nan", "or equal to"),
        ("CONCURRENCY", "0", "greater than or equal to 1"),
        ("CONCURRENCY", "65", "less than or equal to 64"),
        ("CONCURRENCY", "2.5", "integer"),
        ("ATTEMPTS", "21", "less than or equal to 20"),
        ("TIMEOUT_SECONDS", "0", "greater than 0"),
        ("RATE_LIMIT_BUDGET_SECONDS", "-0.1", "greater than or equal to 0"),
        ("RETRY_WAIT_SECONDS", "-1", "greater than or equal to 0"),
        ("COOL_DOWN_SECONDS", "", "number"),
        ("LOOK_BACK_SESSIONS", "-1", "greater than or equal to 0"),
        ("LOOK_BACK_SESSIONS", "26", "less than or equal to 25"),
        ("LOOK_BACK_SESSIONS", "1.5", "integer"),
        ("MIN_COVERAGE", "-1", "percent from 0 to 100"),
        ("MIN_COVERAGE", "101", "percent from 0 to 100"),
        ("MIN_COVERAGE", "ASX=90,US=100.1", "e.g. 95 or ASX=90,US=99"),
        ("MIN_COVERAGE", "nan", "percent from 0 to 100"),
        ("MIN_COVERAGE", "most", "number"),
        ("SWEEP_DAYS", "0", "greater than or equal to 1"),
        ("SWEEP_DAYS", "2.5", "integer"),
        ("NOW", "2013-03-01T23:00:00", "time zone, e.g. 2013-03-01T23:00:00Z"),
        ("NOW", "yesterday", "datetime"),
    ],
)
def test_a_bad_value_names_its_variable_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    told = str(refused.value)
    assert told.startswith(f"QUANT_ASSETS_{name}=")
    assert remedy in told
    assert f"change or unset QUANT_ASSETS_{name}" in told
    assert value.strip(" ,") in told
    assert "Value error" not in told


@pytest.mark.parametrize(
    ("value", "asx", "us"),
    [
        (None, 0.95, 0.95),
        ("90", 0.9, 0.9),
        ("ASX=90,US=99", 0.9, 0.99),
        (" ASX = 90 , 80 ", 0.9, 0.8),
        ("US=0", 0.95, 0.0),
        ("100,ASX=12.5,", 0.125, 1.0),
        ("", 0.95, 0.95),
    ],
)
def test_the_least_coverage_is_for_all_exchanges_or_by_exchange(
    monkeypatch: pytest.MonkeyPatch, value: str | None, asx: float, us: float
) -> None:
    if value is not None:
        monkeypatch.setenv("QUANT_ASSETS_MIN_COVERAGE", value)
    settings = load_settings()
    assert (settings.least_coverage("ASX"), settings.least_coverage("US")) == (asx, us)


def test_an_exchange_that_no_coverage_is_stated_for_has_the_usual_one() -> None:
    assert Settings(min_coverage={"US": 80.0}).least_coverage("ASX") == 0.95


def test_how_far_runs_look_back_and_how_fast_the_sweep_goes_can_be_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (load_settings().look_back_sessions, load_settings().sweep_days) == (15, 30)
    monkeypatch.setenv("QUANT_ASSETS_LOOK_BACK_SESSIONS", "0")
    monkeypatch.setenv("QUANT_ASSETS_SWEEP_DAYS", "1")
    assert (load_settings().look_back_sessions, load_settings().sweep_days) == (0, 1)


@pytest.mark.parametrize("name", ["HOME", "EXCHANGES_FILE", "UNIVERSE", "API_KEYS_FILE", "STORE"])
def test_a_path_that_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    usual = load_settings()
    for empty in ("", " "):
        monkeypatch.setenv(f"QUANT_ASSETS_{name}", empty)
        assert load_settings() == usual


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("NOW", "0001-01-01T00:00:00Z", "write a moment of the years 1950 to 2100"),
        ("NOW", "9999-12-31T23:59:59Z", "write a moment of the years 1950 to 2100"),
        ("ALERT_QUIET", "ASX=22:00-22:00", "leave them out"),
        ("ALERT_RUN_MINUTES", "inf", "write minutes"),
        ("CONCURRENCY", "a" * 5000, "a… *: Input"),
    ],
)
def test_what_nothing_could_be_done_with_is_refused_in_a_short_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
    with pytest.raises(SettingsError, match=words) as refused:
        load_settings()
    assert len(str(refused.value)) < 400


def test_settings_do_not_change_once_made() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().home = Path("elsewhere")  # type: ignore[misc]


# --- the clock


def test_without_a_fixed_moment_the_clock_runs() -> None:
    for now in (Settings().clock, ClockResource().now):
        before = datetime.now(UTC)
        assert before <= now() <= datetime.now(UTC)


def test_a_fixed_clock_stands_still_in_utc() -> None:
    clock = ClockResource(fixed="2013-03-02T10:00:00+11:00")
    assert clock.now() == clock.now() == datetime(2013, 3, 1, 23, tzinfo=UTC)
    assert clock.now().tzinfo is UTC


@pytest.mark.parametrize(
    ("name", "default", "least", "below", "most", "above"),
    [
        ("requests_per_second", 2.0, 0, -0.5, 10_000, 1e400),
        ("concurrency", 4, 1, 0, 64, 65),
        ("attempts", 4, 1, 0, 20, 21),
        ("timeout_seconds", 15.0, 0.001, 0, 3600, 1e23),
        ("rate_limit_budget_seconds", 300.0, 0, -1, 86_400, math.inf),
        ("retry_wait_seconds", 0.5, 0, -1, 3600, 3601),
        ("cool_down_seconds", 5.0, 0, -1, 86_400, 1e300),
        ("look_back_sessions", 15, 0, -1, 25, 26),
        ("sweep_days", 30, 1, 0, 36_500, 10**20),
        ("memory_mb", 512, 64, 63, 10_000_000, 10**20),
        ("keep_runs_days", 90, 0, -1, 36_500, 999_999),
        ("cache_seconds", 86_400.0, 1, 0, 1e9, math.inf),
    ],
)
def test_each_number_has_its_default_and_its_bounds(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    default: float,
    least: float,
    below: float,
    most: float | None,
    above: float | None,
) -> None:
    variable = f"QUANT_ASSETS_{name.upper()}"
    assert getattr(load_settings(), name) == default
    for value in (least, most):
        if value is not None:
            monkeypatch.setenv(variable, str(value))
            assert getattr(load_settings(), name) == value
    for value in (below, above):
        if value is not None:
            monkeypatch.setenv(variable, str(value))
            with pytest.raises(SettingsError, match=variable):
                load_settings()


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("http://host", True),
        ("https://host:1/path/", True),
        ("http://host:65535", True),
        ("http://host/\u00e9", True),
        ("http://host:0", False),
        ("http://host:65536", False),
        ("http://", False),
        ("http:///path", False),
        ("ftp://host", False),
        ("host", False),
        ("http://host/#part", False),
        ("http://host/?question", False),
        ("http://host/a b", False),
        ("http://host/\u200b", False),
    ],
)
def test_an_address_is_a_host_with_a_port_and_a_path_at_most(
    monkeypatch: pytest.MonkeyPatch, address: str, good: bool
) -> None:
    monkeypatch.setenv("QUANT_ASSETS_SOURCE_URL", address)
    if good:
        assert load_settings().source_url == address
        return
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value) == (
        "QUANT_ASSETS_SOURCE_URL: write http://host[:port] or https://host[:port], with a path if need be, and "
        "nothing after it (change or unset QUANT_ASSETS_SOURCE_URL; the README lists the settings)"
    )


def test_no_value_is_shown_by_an_error_of_the_settings_themselves() -> None:
    with pytest.raises(ValueError, match="source_url") as refused:
        Settings(source_url="https://me:S3CRET@host")
    assert "S3CRET" not in str(refused.value)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"SWEEP_DAYS": "0", "CONCURRENCY": "0"}, "QUANT_ASSETS_CONCURRENCY='0': "),
        ({"MIN_COVERAGE": "source_url=x"}, "QUANT_ASSETS_MIN_COVERAGE='x': "),
        ({"MIN_COVERAGE": "ASX=90,US=-0.5"}, "QUANT_ASSETS_MIN_COVERAGE="),
        (
            {"DISCOVERY": "yes"},
            "QUANT_ASSETS_DISCOVERY='yes': Input should be 'off', 'propose' or 'automatic' (",
        ),
        (
            {"DISCOVERY_TYPES": "etf,bond"},
            "QUANT_ASSETS_DISCOVERY_TYPES='bond': Input should be 'equity' or 'etf' (",
        ),
        (
            {"DISCOVERY_TYPES": ","},
            "QUANT_ASSETS_DISCOVERY_TYPES=',': name at least one type, equity or etf (",
        ),
    ],
)
def test_of_several_wrong_settings_the_first_is_told(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value).startswith(told)


@pytest.mark.parametrize(
    ("name", "value"),
    [("owner", "team:a.b-c_1"), ("owner", "me@b.example"), ("code_url", ""),
     ("code_url", "http://host/me/it/tree/main"), ("code_url", "https://host/me/it/tree/a/b")],
)  # fmt: skip
def test_an_owner_and_a_code_url_that_dagster_can_show_are_taken(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"QUANT_ASSETS_{name.upper()}", value)
    assert getattr(load_settings(), name) == value


def test_what_is_local_lies_in_the_home() -> None:
    settings = Settings(home=Path("/home/q"))
    assert settings.store_location == "/home/q/store"
    assert settings.dagster_home == Path("/home/q/dagster")
    assert settings.spill_folder == Path("/home/q/cache/spill")
    assert Settings(home=Path("/home/q"), store="gs://b/p").store_location == "gs://b/p"
    assert (settings.owner, settings.code_url, settings.min_coverage) == (
        "team:quant-assets",
        "",
        {"*": 95.0},
    )
    assert (settings.exchanges_file, settings.universe, settings.now) == (None, None, None)


@pytest.mark.parametrize(
    "written", ["memory", "off", "redis://127.0.0.1", "redis://127.0.0.1:6390/2", "rediss://default:S3CRET@eu1.upstash.io:6379"]
)  # fmt: skip
def test_the_cache_is_one_of_its_kinds_and_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("QUANT_ASSETS_CACHE", written)
    settings = load_settings()
    assert settings.cache.get_secret_value() == written
    for text in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert "S3CRET" not in text


@pytest.mark.parametrize(
    "written", ["", "on", "http://me:S3CRET@host", "redis://", "redis://me:S3CRET@host:0", "rediss://me:S3CRET@host/name",
                "redis://me:S3CRET@host:port", "redis://[S3CRET"]
)  # fmt: skip
def test_another_cache_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("QUANT_ASSETS_CACHE", written)
    with pytest.raises(SettingsError, match=r"^QUANT_ASSETS_CACHE: write memory, off, redis://") as refused:
        load_settings()
    shown = "".join(traceback.format_exception(refused.value))
    assert "S3CRET" not in shown


@pytest.mark.parametrize(
    "written",
    ["memory", "http://me:S3CRET@host", "redis://", "redis://me:S3CRET@host:0", "redis://me:S3CRET@host/a"],
)
def test_the_redis_that_machines_share_is_one_and_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("QUANT_ASSETS_SHARED_REDIS", written)
    with pytest.raises(SettingsError, match=r"^QUANT_ASSETS_SHARED_REDIS: write redis://") as refused:
        load_settings()
    assert "S3CRET" not in "".join(traceback.format_exception(refused.value))
    monkeypatch.setenv("QUANT_ASSETS_SHARED_REDIS", "rediss://me:S3CRET@host:6380/1")
    monkeypatch.setenv("QUANT_ASSETS_WORKERS", "2")
    assert load_settings().workers == 2
    assert "S3CRET" not in str(load_settings().model_dump())
    # A trial's runs are not those of the workers, and the pace is one for both.
    trial = load_settings().for_trial("/elsewhere")
    assert (trial.workers, trial.shared_redis) == (0, load_settings().shared_redis)


def test_workers_without_a_redis_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_ASSETS_WORKERS", "2")
    with pytest.raises(SettingsError, match=r"QUANT_ASSETS_WORKERS='2': .*QUANT_ASSETS_SHARED_REDIS"):
        load_settings()


def test_the_readme_lists_every_setting_with_its_default() -> None:
    lines = (Path(__file__).parents[2] / "README.md").read_text().splitlines()
    rows = [line.split("|")[1:4] for line in lines if line.startswith("| `QUANT_ASSETS_")]
    told = {row[0].strip(" `").removeprefix("QUANT_ASSETS_").lower(): row[1].strip() for row in rows}
    fields = Settings.model_fields
    assert told.keys() - {"api_key"} == fields.keys()
    for name, text in told.items():
        default = fields[name].default if name in fields else None
        if type(default) in (int, float):
            assert float(text.strip("`")) == default, name
