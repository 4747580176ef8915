"""Write January to April of the real 2013 flights from New York, with the weather of the hour, as Parquet."""

from pathlib import Path

from mlport.demo.flights import flights, months

TARGET = Path(__file__).parent / "data" / "2013-01-to-04.parquet"

TARGET.parent.mkdir(exist_ok=True)
training = months(flights(), 1, 4)
training.to_parquet(TARGET, index=False)
print(f"{len(training):,} flights in {TARGET}")
