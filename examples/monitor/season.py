"""An endpoint for flight delays, and the flights of some months to ask it about: `season.py serve`, `season.py fly 1 4`, `season.py end`."""

import sys
import time
from pathlib import Path

import pandas as pd

import mlport
from mlport import Compute, JobSpec
from mlport.demo.flights import FEATURES, TARGET, flights, months

HERE = Path(__file__).parent
WINTER, OTHERS = HERE / "data" / "winter.parquet", HERE / "data" / "others.parquet"
NAME, WINDOW = "season", 5.0


def serve(ml: mlport.Client) -> None:
    """Train on a tenth of January to April, and serve what that made; another tenth of the year is kept to ask about."""
    WINTER.parent.mkdir(exist_ok=True)
    year = flights()
    months(year, 1, 4)[::10].to_parquet(WINTER, index=False)
    year[5::10].to_parquet(OTHERS, index=False)
    job = ml.jobs.submit(
        JobSpec(
            name=NAME,
            source=str(HERE / "../../src/mlport/demo/source"),
            entrypoint=("python", "train.py"),
            params={"max_iter": 20},
            inputs={"flights": str(WINTER)},
            compute=Compute(cpus=1, memory_gib=1),
        )
    )
    version = ml.models.register(NAME, from_job=job.wait(), alias="champion")
    print(ml.endpoints.create(NAME, version).record.url)


def fly(ml: mlport.Client, first: int, last: int) -> None:
    """Ask about flights that training has not seen, tell which were late, and wait until the monitor's window is over."""
    endpoint = ml.endpoints.get(NAME)
    found = months(pd.read_parquet(OTHERS), first, last).sample(1500, random_state=0)
    for start in range(0, len(found), 250):
        part = found[start : start + 250]
        endpoint.label(endpoint.predict(part[FEATURES]).request_id, part[TARGET].tolist())
    time.sleep(WINDOW + 1 - time.time() % WINDOW)
    print(f"{len(found):,} flights of the months {first} to {last}")


def end(ml: mlport.Client) -> None:
    """Leave nothing running."""
    ml.endpoints.delete(NAME)


with mlport.connect() as ml:
    verb, *rest = sys.argv[1:]
    {"serve": serve, "fly": fly, "end": end}[verb](ml, *map(int, rest))
