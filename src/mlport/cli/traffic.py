"""What passes through an endpoint: predict, label, captured, observe, batch-predict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli
from mlport.cli.latency import quantile
from mlport.cli.options import last_option, limit_option
from mlport.cli.plain import plain, record
from mlport.cli.rows import parse_rows, read_labels, read_rows
from mlport.cli.values import SPAN, scalar
from mlport.cli.waiting import started
from mlport.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from mlport.spi import Observed

CAPTURED = ("time", "deployment", "provider_id", "row", "status", "prediction", "label")


@command(
    "predict",
    example="""mlport endpoints predict delays --data '[{"hour": 17, "carrier": "UA"}]'\nmlport endpoints predict delays --file rows.csv --deployment green""",
)
@click.argument("name")
@click.option("--data", metavar="JSON", help="One row as a JSON object, or a list of rows.")
@click.option("--file", metavar="FILE", help="Rows as .json, .jsonl, .csv or .parquet; - reads standard input.")
@click.option("--format", "form", type=click.Choice(["json", "jsonl", "csv", "parquet"]), help="The file's form. [default: by its name]")
@click.option("--deployment", help="Send to this one, whatever the split.")
@click.option("--request-id", help="Your own id, kept beside the endpoint's.")
@click.option("--timeout", type=SPAN, default="60s", show_default=True, help="How long to wait for the answer.")
@pass_cli
def predict(cli: Cli, name: str, data: str | None, file: str | None, form: str | None, timeout: timedelta, **options: Any) -> None:
    """Predict rows.

    One prediction a line, and on standard error the request id to label them by.
    """
    if (data is None) == (file is None):
        raise UsageError("predict needs either --data or --file", hint="""--data '[{"hour": 17, "carrier": "UA"}]', or --file rows.csv""")
    rows = parse_rows(data, "json", "--data") if data is not None else read_rows(str(file), form)
    answer = cli.client.endpoints.get(name).predict(rows, timeout=timeout.total_seconds(), **options)
    if cli.out.json:
        cli.out.document(
            {"predictions": list(answer), "request_id": answer.request_id, "deployment": answer.deployment, "version": answer.version}
        )
        return
    for value in answer:
        click.echo(json.dumps(plain(value), ensure_ascii=False))
    cli.out.note(f"request {answer.request_id}, answered by {answer.deployment or 'a deployment it does not name'}")


@command("label", example="mlport endpoints label delays --request-id 01J9-4f2a 1 0\nmlport endpoints label delays --file truth.csv")
@click.argument("name")
@click.argument("values", metavar="[VALUE...]", nargs=-1)
@click.option("--request-id", help="The request that VALUES are the truth of, one for each of its rows.")
@click.option("--file", metavar="FILE", help="A CSV file with request_id,label or request_id,row,label; - reads standard input.")
@pass_cli
def label(cli: Cli, name: str, values: tuple[str, ...], request_id: str | None, file: str | None) -> None:
    """Tell the truth about predictions.

    Whenever it is known and in any order; the last word counts.
    """
    if (file is None) != bool(request_id and values) or (file is not None and (request_id or values)):
        raise UsageError(
            "label needs either --request-id and its values, or --file", hint="mlport endpoints label NAME --request-id ID 1 0"
        )
    endpoint = cli.client.endpoints.get(name)
    pairs = read_labels(file) if file is not None else [(str(request_id), [scalar(value) for value in values])]
    for batch in _batches(pairs):
        endpoint.label_many(batch)
    told = sum(value is not None for _, values in pairs for value in values)
    cli.out.done(f"stored {told} labels for {len(pairs)} requests", name=name, labels=told, requests=len(pairs))


@command("captured", example="mlport endpoints captured delays --last 1h --labelled --out captured.parquet")
@click.argument("name")
@last_option
@click.option("--labelled", is_flag=True, help="Join the labels.")
@click.option("--out", "file", metavar="FILE", help="Write a .parquet, .csv or .jsonl file instead.")
@limit_option
@pass_cli
def captured(cli: Cli, name: str, last: timedelta | None, labelled: bool, file: str | None, limit: int | None) -> None:
    """Show or save captured requests and answers."""
    table = cli.client.endpoints.get(name).captured(last, labelled=labelled)
    if file is not None:
        _write(table, Path(file))
        cli.out.done(f"{table.num_rows} rows are in {file}", rows=table.num_rows, file=file)
        return
    columns = [column for column in CAPTURED if column in table.column_names]
    cli.out.table(iter(table.to_pylist()), columns, empty="nothing was captured" + (" in that time" if last else ""), limit=limit)


@command("observe", example="mlport endpoints observe delays --last 1h")
@click.argument("name")
@last_option
@pass_cli
def observe(cli: Cli, name: str, last: timedelta | None) -> None:
    """Count requests and errors, and measure latency.

    Of each deployment; over the last hour if not told otherwise.
    """
    seen = cli.client.endpoints.get(name).observe(last)
    rows = [_observed(deployment) for deployment in seen.deployments]
    if cli.out.json:
        cli.out.document({**record(seen), "deployments": rows})
    else:
        cli.out.table(rows, ("deployment", "requests", "errors", "rejected", "p50_ms", "p99_ms"), empty="no deployments")
        cli.out.note(f"complete until {plain(seen.complete_until)}")


@command("batch-predict", example="mlport endpoints batch-predict delays data/may.parquet scored/ --keep flight")
@click.argument("name")
@click.argument("input", metavar="INPUT")
@click.argument("output", metavar="OUTPUT")
@click.option(
    "--format", type=click.Choice(["auto", "parquet", "csv", "jsonl"]), default="auto", help="The input's form. [default: by its name]"
)
@click.option("--keep", multiple=True, metavar="COLUMN", help="An input column to copy beside the prediction; repeatable.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the end.")
@pass_cli
def batch_predict(cli: Cli, name: str, input: str, output: str, wait: bool, **options: Any) -> None:
    """Score files larger than memory, as a job.

    With the version that has most of the traffic.
    """
    job = cli.client.endpoints.get(name).batch_predict(input, output, wait=False, **options)
    started(cli, job, wait=wait)


def _batches(pairs: list[tuple[str, list[Any]]]) -> Iterator[list[tuple[str, list[Any]]]]:
    """Requests in calls of at most `LARGEST_CALL` values; a single larger request goes alone and is refused by name."""
    from mlport.labels import LARGEST_CALL

    size = max(1, LARGEST_CALL // max((len(values) for _, values in pairs), default=1))
    remaining = iter(pairs)
    while batch := list(islice(remaining, size)):
        yield batch


def _observed(seen: Observed) -> dict[str, Any]:
    p50, p99 = (quantile(seen.latency, q) for q in (0.5, 0.99))
    return {**record(seen), "p50_ms": None if p50 is None else p50 * 1000, "p99_ms": None if p99 is None else p99 * 1000}


def _write(table: pa.Table, file: Path) -> None:
    match file.suffix:
        case ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(table, file)
        case ".csv":
            import csv

            with file.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, table.column_names)
                writer.writeheader()
                writer.writerows(
                    {name: json.dumps(plain(value)) if isinstance(value, dict | list) else plain(value) for name, value in row.items()}
                    for row in table.to_pylist()
                )
        case ".jsonl":
            file.write_text("".join(f"{json.dumps(plain(row))}\n" for row in table.to_pylist()), encoding="utf-8")
        case _:
            raise UsageError(f"--out {file}: the name must end in .parquet, .csv or .jsonl")
