"""What the sensors make of a cursor that is damaged or of another version."""

import json
from datetime import date

import pytest

from quant_assets_tests.defs.platform import Platform
from quant_assets_tests.defs.scheduler import turn_on


@pytest.mark.parametrize(
    "sensor", ["missing_sessions", "missing_valuations", "derived_tables", "universe_file"]
)
@pytest.mark.parametrize(
    "kept",
    [
        "{",
        "[]",
        '{"US": 17, "day": [], "tries": 3, "exchange_profiles": {}}',
        '{"US": {"seen": "", "fresh": 5, "next": "soon", "tries": {"a": 1}}, "tries": [[1, "x", 2, []]]}',
        '{"US": {"next": "2013-03-02T00:00:00", "tries": [[1, "2013-03-02T00:00:00", 1, ["2013-03-01|US"]]]}}',
    ],
    ids=["damaged", "a list", "numbers", "no moments", "moments without zone"],
)
def test_sensors_start_anew_where_their_cursor_is_damaged_or_of_another_version(
    platform: Platform, sensor: str, kept: str
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    turn_on(platform.instance, "US")
    assert platform.days(date(2013, 2, 27), date(2013, 2, 28)).success
    anew = platform.sense(sensor, None)
    if kept.startswith('{"US": {"seen": ""') and sensor == "missing_sessions":
        # As it would be had another version kept no note.
        seen = json.loads(anew.cursor or "{}").get("US", {}).get("seen", "")
        kept = json.dumps({"US": {"seen": seen, "next": "soon"}})
    answer = platform.sense(sensor, kept)
    if sensor == "universe_file":
        # What it has kept of the day may be a day that is not today's.
        assert len(answer.run_requests or []) <= 1
    else:
        assert [r.tags for r in answer.run_requests or []] == [r.tags for r in anew.run_requests or []]
        assert answer.skip_message == anew.skip_message
