"""What of the alerts found is told now: each once, and none in quiet hours. Plain functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from quant_assets.defs.alerts.alert import EVENTS, Alert, Kept, Kind, Memory, iso

SAME = timedelta(hours=6)
"""How long after it was over an alert that is found again is the same one, and not told again."""
_MOST_LINES = 50
"""Lines of a list in a message: of thousands nobody reads more, and many channels take none."""
ALL_IS_WELL = "all is well"
"""How the title of a digest ends that has nothing to tell of."""
KEPT = timedelta(hours=24)
"""How long what is over is kept, for the digest; and after how long what goes on happening is told again."""


def is_quiet(hours: tuple[time, time] | None, zone: str, now: datetime) -> bool:
    """Whether `now` lies in quiet hours (from, until; over midnight where the first is later), by the clocks of a
    zone."""
    if hours is None:
        return False
    first, last = hours
    local = now.astimezone(ZoneInfo(zone)).time()
    return first <= local < last if first <= last else local >= first or local < last


def in_the_past(memory: Memory, now: datetime, real_now: datetime) -> Memory:
    """What is kept, with no moment later than now: a clock that was ahead has kept some, and until they had come
    nothing of them would be told again, and no run that ends before them."""
    moment = iso(now)
    for kept in memory.alerts.values():
        kept.since, kept.told, kept.over = (min(one, moment) for one in (kept.since, kept.told, kept.over))
    memory.runs_after = min(memory.runs_after, real_now.timestamp())
    memory.watched_since = min(memory.watched_since, memory.runs_after)
    return memory


def decide(
    memory: Memory,
    found: Sequence[Alert],
    now: datetime,
    quiet: Collection[str],
    unseen: Collection[str] = (),
) -> list[Alert]:
    """The alerts to tell now, oldest first; brings `memory` up to date.

    Args:
        now: the present moment, UTC.
        quiet: the exchanges ("" is for what concerns none) that have quiet hours now: theirs wait until those end.
        unseen: exchanges that could not be looked at this time; what is open of them stays open.
    """
    moment = iso(now)
    here = {alert.key: alert for alert in found}
    for key, alert in here.items():
        kept = memory.alerts.get(key)
        if kept is None or _is_another(kept, now):
            memory.alerts[key] = Kept(alert, moment)
        else:
            kept.alert, kept.over = alert, ""
    for key, kept in list(memory.alerts.items()):
        event = kept.alert.kind in EVENTS
        if key not in here and not kept.over and (event or kept.alert.exchange not in unseen):
            # What happened at a moment is over at once, and told all the same.
            kept.over = moment
        if kept.over and (kept.told or not event) and _since(kept.over, now) > KEPT:
            del memory.alerts[key]
    due = [
        kept
        for kept in memory.alerts.values()
        if not kept.told and (not kept.over or kept.alert.kind in EVENTS) and kept.alert.exchange not in quiet
    ]
    for kept in due:
        kept.told = moment
    return [kept.alert for kept in sorted(due, key=lambda kept: kept.since)]


def _is_another(kept: Kept, now: datetime) -> bool:
    """Whether an alert that is found again after what was kept of it is one to tell anew."""
    if kept.alert.kind in EVENTS:
        return bool(kept.told) and _since(kept.told, now) > KEPT
    return bool(kept.over) and (not kept.told or _since(kept.over, now) > SAME)


def _since(moment: str, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(moment)


def message(alerts: Sequence[Alert]) -> tuple[str, str]:
    """Title and body of one message that tells of some alerts (at least one)."""
    if len(alerts) == 1:
        return alerts[0].title, alerts[0].text
    kinds = dict.fromkeys(alert.kind.value for alert in alerts)
    lines = few([f"- {alert.kind.value}: {text}" for alert, text in together(alerts)])
    return f"quant-assets: {len(alerts)} alerts: {', '.join(kinds)}", "\n".join(lines)


def together(alerts: Sequence[Alert]) -> list[tuple[Alert, str]]:
    """The alerts with their texts; of low coverage the latest session's of an exchange, which names the others."""
    low: dict[str, list[Alert]] = {}
    for alert in alerts:
        if alert.kind is Kind.COVERAGE:
            low.setdefault(alert.exchange, []).append(alert)
    told: list[tuple[Alert, str]] = []
    for alert in alerts:
        if alert.kind is not Kind.COVERAGE:
            told.append((alert, alert.text))
        elif alert is max(low[alert.exchange], key=lambda one: one.subject):
            others = sorted(one.subject.split()[-1] for one in low[alert.exchange] if one is not alert)
            told.append((alert, alert.text + (f" Low as well: {', '.join(others)}." if others else "")))
    return told


def few(lines: Sequence[str]) -> list[str]:
    """Lines that a message has room for, and how many are left out."""
    more = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], *([f"- and {more} more: `quant-assets alerts list`"] if more > 0 else [])]


def digest_is_due(memory: Memory, at: time | None, now: datetime) -> bool:
    """Whether the day's digest (at `at`, UTC; None: never) is still to be told at `now`."""
    return (
        at is not None
        and now.astimezone(UTC).time() >= at
        and memory.digest != str(now.astimezone(UTC).date())
    )


def digest(
    memory: Memory,
    now: datetime,
    exchanges: Mapping[str, str],
    runs: Mapping[str, int],
    held: int,
    unseen: Collection[str] = (),
) -> tuple[str, str]:
    """Title and body of the daily digest.

    Args:
        exchanges: by code, how the exchange stands, in a line.
        runs: the last day's runs by outcome.
        held: claims that wait in quarantine, but for those of the exchanges that could not be looked at (`unseen`).
    """
    open_now = [kept for kept in memory.alerts.values() if not kept.over and kept.alert.kind not in EVENTS]
    day_ago = iso(now - timedelta(days=1))
    told = [kept for kept in memory.alerts.values() if kept.told >= day_ago]
    names = ", ".join(sorted(unseen))
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(runs.items())) or "none"
    lines = [
        *(f"{code}: {line}" for code, line in exchanges.items()),
        f"runs of the last day: {counts}",
        f"held in quarantine: {held}{f', and what {names} may have' if names else ''}",
        f"alerts of the last day: {len(told)}, open now: {len(open_now)}",
        *few(
            [
                f"- open since {memory.alerts[alert.key].since[:16]}Z: {alert.kind.value}: {text}"
                for alert, text in together([kept.alert for kept in open_now])
            ]
        ),
        *few(
            [
                f"- told {kept.told[:16]}Z: {kept.alert.kind.value}: {kept.alert.subject}"
                for kept in told
                if kept.over or kept.alert.kind in EVENTS
            ]
        ),
        *(f"channel {name} takes no messages: {why}" for name, why in memory.dead.items()),
    ]
    state = ALL_IS_WELL if not open_now and not told and not memory.dead else f"{len(open_now)} open"
    return f"quant-assets: {now:%Y-%m-%d}: {state}", "\n".join(lines)
