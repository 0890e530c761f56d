"""Weekdays and trading weeks.

Weekdays are numbers as cron counts them: 0 is Sunday, 6 Saturday. A trading week has seven days and begins on the
exchange's first weekday. It is named by its Monday, whatever day it begins on: Tel Aviv's week from Sunday 10 March
to Saturday 16 March 2024 and New York's from Monday 11 March to Sunday 17 March are both the week 2024-03-11. So one
grid of partitions holds the weeks of all exchanges, and no week mixes two trading weeks.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import date, timedelta

MONDAY = 1


def weekday(day: date) -> int:
    """The number of a day's weekday."""
    return day.isoweekday() % 7


def weekdays_of_cron(part: str) -> frozenset[int]:
    """The weekdays of a cron line's last part: "0,2-4" is {0, 2, 3, 4}; 7 is Sunday, too. Raises ValueError."""
    days: set[int] = set()
    for piece in part.split(","):
        found = re.fullmatch(r"([0-7])(?:-([0-7]))?", piece.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last:
            raise ValueError(
                f'{part!r} are no weekdays; write cron\'s numbers (0 is Sunday) such as "1-5" or "0,2-4"'
            )
        days.update(day % 7 for day in range(first, last + 1))
    return frozenset(days)


def cron_of_weekdays(days: Collection[int]) -> str:
    """The shortest spelling for cron: {1, 2, 3, 5} is "1-3,5"."""
    parts: list[str] = []
    for day in sorted(days):
        if day - 1 not in days:
            parts.append(str(day))
        elif day + 1 not in days:
            parts[-1] += f"-{day}"
    return ",".join(parts)


def first_trading_weekday(days: Collection[int]) -> int:
    """The weekday that a trading week of these weekdays begins on: the one after its longest rest.

    Of equal ones the first from Monday on: {1, …, 5} begins on Monday, {0, …, 4} on Sunday.
    """

    def rest_before(day: int) -> int:
        return next((back - 1 for back in range(1, 7) if (day - back) % 7 in days), 6)

    # Sunday comes last in the order from Monday on.
    return max(sorted(days, key=lambda day: (day - MONDAY) % 7), key=rest_before, default=MONDAY)


def week_of(day: date, first_weekday: int = MONDAY) -> date:
    """The Monday that names the trading week of a day; `first_weekday` is the one that the week begins on."""
    ahead = day + timedelta(days=days_before_monday(first_weekday))
    return ahead - timedelta(days=ahead.weekday())


def week_days(week: date, first_weekday: int = MONDAY) -> tuple[date, date]:
    """The first and the last day of the trading week that a Monday names.

    Raises ValueError when `week` is no Monday.
    """
    if week.weekday() != 0:
        raise ValueError(f"{week} is a {week:%A}; a week is named by its Monday")
    first = week - timedelta(days=days_before_monday(first_weekday))
    return first, first + timedelta(days=6)


def days_before_monday(first_weekday: int) -> int:
    """How many days of a week that begins on `first_weekday` lie before its Monday."""
    return (MONDAY - first_weekday) % 7
