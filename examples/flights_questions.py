"""Three questions about the flights, each with three independent ways to its answer.

`program` is what a model would write in code mode. `rounds` and `conclude` play the model in JSON mode: the tool calls
of each turn, then plain Python over nothing but the tool messages it was shown, which no real model does without a
mistake. `check` is pandas on the data itself.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flights_data as data

Arguments = dict[str, Any]
Shown = list[tuple[str, Arguments, Any]]
"""Tool name, arguments and value of each call in the message history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question and the ways to its answer."""

    title: str
    text: str
    form: str
    """Of the answer."""
    program: str
    rounds: tuple[Callable[[Shown], list[tuple[str, Arguments]]], ...]
    """The JSON calls of each turn, given what was shown before; all calls of a turn run in parallel."""
    conclude: Callable[[Shown], dict[str, Any]]
    check: Callable[[], dict[str, Any]]


# ---- the least punctual airline of a week


def worst_airline_shown(shown: Shown) -> dict[str, Any]:
    """Return the answer from the tool messages."""
    delays = defaultdict[str, list[float]](list)
    names: dict[str, str] = {}
    for tool, _, value in shown:
        if tool == "airlines":
            names = {one["carrier"]: one["name"] for one in value}
        else:
            for flight in value:
                if flight["dep_delay"] is not None:
                    delays[flight["carrier"]].append(flight["dep_delay"])
    minutes, carrier = max((statistics.fmean(several), carrier) for carrier, several in delays.items())
    return {"airline": names[carrier], "minutes": round(minutes, 2)}


def worst_airline() -> dict[str, Any]:
    """Return the answer from the data."""
    flights = data.flights.query("month == 12 and 16 <= day <= 22 and origin == 'LGA' and dest == 'ATL'")
    means = flights.groupby("carrier")["dep_delay"].mean()
    airlines = data.airlines.set_index("carrier")["name"]
    return {"airline": airlines[means.idxmax()], "minutes": round(float(means.max()), 2)}


WORST_AIRLINE = Question(
    title="worst airline",
    text=(
        "Which airline had the worst average departure delay from LGA to ATL in the week of 16 to 22 December 2013, "
        "and how many minutes was it?"
    ),
    form='{"airline": its name, "minutes": to two decimals}',
    program="""\
days = call_tools(
    [("flights_on", {"month": 12, "day": day, "origin": "LGA", "dest": "ATL"}) for day in range(16, 23)]
)
delays = {}
for flights in days:
    for flight in flights:
        if flight["dep_delay"] is not None:
            delays.setdefault(flight["carrier"], []).append(flight["dep_delay"])
average = {carrier: sum(minutes) / len(minutes) for carrier, minutes in delays.items()}
worst = max(average, key=average.get)
names = {airline["carrier"]: airline["name"] for airline in airlines()}
{"airline": names[worst], "minutes": round(average[worst], 2)}
""",
    rounds=(
        lambda _: [
            *(("flights_on", {"month": 12, "day": day, "origin": "LGA", "dest": "ATL"}) for day in range(16, 23)),
            ("airlines", {}),
        ],
    ),
    conclude=worst_airline_shown,
    check=worst_airline,
)


# ---- the plane model flown most


def tails_shown(shown: Shown) -> list[tuple[str, Arguments]]:
    """Return the calls that look up every plane of the flights shown."""
    tails = dict.fromkeys(flight["tailnum"] for flight in shown[0][2] if flight["tailnum"])
    return [("plane", {"tailnum": tail}) for tail in tails]


def plane_model_shown(shown: Shown) -> dict[str, Any]:
    """Return the answer from the tool messages."""
    planes = {arguments["tailnum"]: value for tool, arguments, value in shown if tool == "plane"}
    flown = [planes[flight["tailnum"]] for flight in shown[0][2] if planes.get(flight["tailnum"])]
    (maker, model, seats), count = Counter(
        (one["manufacturer"], one["model"], one["seats"]) for one in flown
    ).most_common(1)[0]
    return {"manufacturer": maker, "model": model, "seats": seats, "flights": count}


def plane_model() -> dict[str, Any]:
    """Return the answer from the data."""
    flights = data.flights.query("month == 6 and day == 13 and dest == 'LAX'")
    flown = flights.merge(data.planes, on="tailnum").value_counts(["manufacturer", "model", "seats"])
    maker, model, seats = flown.index[0]
    return {"manufacturer": maker, "model": model, "seats": int(seats), "flights": int(flown.iloc[0])}


PLANE_MODEL = Question(
    title="plane model",
    text="Which plane model made the most flights to LAX on 13 June 2013, and how many seats does it have?",
    form='{"manufacturer": ..., "model": ..., "seats": ..., "flights": how many it made}',
    program="""\
from collections import Counter

flights = [flight for flight in flights_on(month=6, day=13, dest="LAX") if flight["tailnum"]]
tails = sorted({flight["tailnum"] for flight in flights})
planes = dict(zip(tails, call_tools([("plane", {"tailnum": tail}) for tail in tails])))
flown = Counter()
for flight in flights:
    plane_of = planes[flight["tailnum"]]
    if plane_of:
        flown[plane_of["manufacturer"], plane_of["model"], plane_of["seats"]] += 1
(manufacturer, model, seats), count = flown.most_common(1)[0]
{"manufacturer": manufacturer, "model": model, "seats": seats, "flights": count}
""",
    rounds=(lambda _: [("flights_on", {"month": 6, "day": 13, "dest": "LAX"})], tails_shown),
    conclude=plane_model_shown,
    check=plane_model,
)


# ---- delays and the weather


def delay_and_wind_shown(shown: Shown) -> dict[str, Any]:
    """Return the answer from the tool messages."""
    values = {tool: value for tool, _, value in shown}
    wind = {(hour["origin"], hour["time_hour"]): hour["wind_speed"] for hour in values["weather_on"]}
    pairs = defaultdict[str, list[tuple[float, float]]](list)
    for flight in values["flights_on"]:
        speed = wind.get((flight["origin"], flight["time_hour"]))
        if flight["dep_delay"] is not None and speed is not None:
            pairs[flight["origin"]].append((flight["dep_delay"], speed))
    return {origin: round(statistics.correlation(*zip(*several, strict=True)), 3) for origin, several in pairs.items()}


def delay_and_wind() -> dict[str, Any]:
    """Return the answer from the data."""
    flights = data.flights.query("month == 6 and day == 13")
    both = flights.merge(data.weather[["origin", "time_hour", "wind_speed"]], on=["origin", "time_hour"])
    return {
        str(origin): round(float(several["dep_delay"].corr(several["wind_speed"])), 3)
        for origin, several in both.groupby("origin")
    }


DELAY_AND_WIND = Question(
    title="delay and wind",
    text=(
        "On 13 June 2013, how did departure delays go with the wind? For each of EWR, JFK and LGA, correlate (Pearson) "
        "the departure delay of each flight with the wind speed at its origin in its hour of departure; leave out "
        "flights without a delay or without weather."
    ),
    form='{"EWR": to three decimals, "JFK": ..., "LGA": ...}',
    program="""\
from statistics import correlation

flights, weather = call_tools([("flights_on", {"month": 6, "day": 13}), ("weather_on", {"month": 6, "day": 13})])
wind = {(hour["origin"], hour["time_hour"]): hour["wind_speed"] for hour in weather}
answer = {}
for origin in ("EWR", "JFK", "LGA"):
    pairs = [
        (flight["dep_delay"], wind[origin, flight["time_hour"]])
        for flight in flights
        if flight["origin"] == origin
        and flight["dep_delay"] is not None
        and wind.get((origin, flight["time_hour"])) is not None
    ]
    answer[origin] = round(correlation([delay for delay, _ in pairs], [speed for _, speed in pairs]), 3)
answer
""",
    rounds=(lambda _: [("flights_on", {"month": 6, "day": 13}), ("weather_on", {"month": 6, "day": 13})],),
    conclude=delay_and_wind_shown,
    check=delay_and_wind,
)

QUESTIONS = (WORST_AIRLINE, PLANE_MODEL, DELAY_AND_WIND)
