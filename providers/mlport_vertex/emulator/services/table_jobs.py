"""BigQuery: jobs of queries. They are run when they arrive, so a job is DONE as soon as it is seen; that alone is unlike the real ones."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mlport.emulation.documents import Exists
from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.storing.sql import SqlProblem, Statement, translated
from mlport_vertex.emulator.storing.tables import HIDDEN, LOCATION, TableError, Tables, no_dataset, no_table, schema_of

Json = dict[str, Any]
JOBS = "bigqueryJobs"


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    jobs = Jobs(place)
    return {
        "jobs.query": jobs.query,
        "jobs.insert": jobs.insert,
        "jobs.get": jobs.get,
        "jobs.list": jobs.list,
        "jobs.cancel": jobs.cancel,
        "jobs.getQueryResults": jobs.results,
    }


class Jobs:
    """Queries, run in the embedded engine, each kept as a job with its results."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def _tables(self) -> Tables:
        return self._place.tables

    # ---------------------------------------------------------------- methods

    def query(self, request: Request) -> Json:
        """Run, and answer with the first page of rows. A request id that came before is answered with that query's results."""
        body, project = request.body, str(request.arguments["projectId"])
        if body.get("useLegacySql", True):  # the API's own default, and never what is meant
            raise TableError("INVALID_ARGUMENT", "The emulator runs GoogleSQL only: send useLegacySql false", "invalidQuery")
        asked = {"query": {key: body[key] for key in ("query", "queryParameters", "defaultDataset", "parameterMode") if key in body}}
        configuration = {**asked, "labels": body.get("labels", {}), "dryRun": bool(body.get("dryRun"))}
        job_id = f"job_{body['requestId']}" if body.get("requestId") else f"job_{uuid.uuid4().hex}"
        if body.get("dryRun"):
            self._prepared(project, asked["query"])
            return {"kind": "bigquery#queryResponse", "jobComplete": True, "totalBytesProcessed": "0", "cacheHit": False}
        job = self._place.documents.get(JOBS, f"{project}:{job_id}")
        if job is None:
            job = self._kept(self._run(project, job_id, configuration, body.get("location")))
        options = body.get("formatOptions", {})
        arguments = {"maxResults": body.get("maxResults"), "formatOptions.useInt64Timestamp": options.get("useInt64Timestamp")}
        return {"kind": "bigquery#queryResponse", "queryId": job_id, "location": _location(job), **self._answer(job, arguments)}

    def insert(self, request: Request) -> Json:
        """Run. A query that fails is a job that failed."""
        configuration, project = request.body["configuration"], str(request.arguments["projectId"])
        if "query" not in configuration:
            kinds = ", ".join(key for key in ("load", "copy", "extract") if key in configuration)
            raise TableError("UNIMPLEMENTED", f"The emulator has jobs of queries only, not of: {kinds or 'nothing'}")
        if configuration["query"].get("useLegacySql", True):
            raise TableError("INVALID_ARGUMENT", "The emulator runs GoogleSQL only: send useLegacySql false", "invalidQuery")
        job_id = (request.body.get("jobReference") or {}).get("jobId") or f"job_{uuid.uuid4().hex}"
        if configuration.get("dryRun"):
            self._prepared(project, configuration["query"])
            return _job(project, job_id, configuration, time.time(), "SELECT")
        if self._place.documents.get(JOBS, f"{project}:{job_id}") is not None:
            raise TableError("ALREADY_EXISTS", f"Already Exists: Job {project}:{job_id}")
        location, started = (request.body.get("jobReference") or {}).get("location"), time.time()
        try:
            return self._kept(self._run(project, job_id, configuration, location))
        except TableError as error:
            return self._kept(_job(project, job_id, configuration, started, "SELECT", location=location, error=error))

    def get(self, request: Request) -> Json:
        return self._need(request)

    def list(self, request: Request) -> Json:
        from mlport_vertex.emulator.services.tables import paged

        found = [each for _, each in self._place.documents.list(JOBS, f"{request.arguments['projectId']}:")]
        page, more = paged(found, request.arguments)
        shown = [{**{key: each[key] for key in ("id", "kind", "jobReference", "statistics", "status")}, "state": "DONE"} for each in page]
        return {"kind": "bigquery#jobList", "jobs": shown, **more}

    def cancel(self, request: Request) -> Json:
        return {"kind": "bigquery#jobCancelResponse", "job": self._need(request)}

    def results(self, request: Request) -> Json:
        """Rows of a job; of one that failed, its error."""
        job = self._need(request)
        if error := job["status"].get("errorResult"):
            code = {"notFound": "NOT_FOUND", "duplicate": "ALREADY_EXISTS"}.get(error["reason"], "INVALID_ARGUMENT")
            raise TableError(code, error["message"], error["reason"], error.get("location", ""))
        return {"kind": "bigquery#getQueryResultsResponse", **self._answer(job, request.arguments)}

    def _need(self, request: Request) -> Json:
        project, job_id = request.arguments["projectId"], request.arguments["jobId"]
        found = self._place.documents.get(JOBS, f"{project}:{job_id}")
        if found is None:
            raise TableError("NOT_FOUND", f"Not found: Job {project}:{job_id}")
        return found

    # ---------------------------------------------------------------- running

    def _run(self, project: str, job_id: str, configuration: Json, location: str | None) -> Json:
        """The job that it was. Raises TableError for what is wrong with the query."""
        query, started = configuration["query"], time.time()
        statement = self._prepared(project, query)
        target, changed = self._perform(project, job_id, query, statement)
        chosen = {**configuration, "query": {**query, **({"destinationTable": target} if target else {})}}
        return _job(project, job_id, chosen, started, statement.kind, location=location, changed=changed)

    def _kept(self, job: Json) -> Json:
        with suppress(Exists):  # the same request came twice at once
            self._place.documents.insert(JOBS, f"{job['jobReference']['projectId']}:{job['jobReference']['jobId']}", job)
        return job

    def _prepared(self, project: str, query: Json) -> Statement:
        default = query.get("defaultDataset", {})

        def locate(catalog: str, dataset: str, table: str) -> str:
            at, held = catalog or (default.get("projectId", project) if not dataset else project), dataset or default.get("datasetId", "")
            if not held:
                raise TableError("INVALID_ARGUMENT", f'Table "{table}" must be qualified with a dataset (e.g. dataset.table).', "invalid")
            if not self._tables.has_dataset(at, held):
                raise no_dataset(at, held)
            if not self._tables.has_table(at, held, table):
                raise no_table(at, held, table)
            return schema_of(at, held)

        try:
            return translated(query.get("query", ""), query.get("queryParameters", []), locate)
        except SqlProblem as problem:
            raise TableError("INVALID_ARGUMENT", str(problem), "invalidQuery", "query") from problem

    def _perform(self, project: str, job_id: str, query: Json, statement: Statement) -> tuple[Json | None, int | None]:
        """Where the rows are kept, or how many were changed."""
        import duckdb

        try:
            if statement.kind != "SELECT":
                return None, self._tables.change_rows(statement.sql, statement.parameters)
            target = self._target(project, job_id, query)
            self._tables.run(statement.sql, statement.parameters, (target["projectId"], target["datasetId"], target["tableId"]))
        except duckdb.Error as error:
            raise TableError("INVALID_ARGUMENT", str(error), "invalidQuery", "query") from error
        return target, None

    def _target(self, project: str, job_id: str, query: Json) -> Json:
        """A table of the caller's choice, made room for as it wishes; else a hidden one."""
        chosen: Json | None = query.get("destinationTable")
        if not chosen:
            return {"projectId": project, "datasetId": HIDDEN, "tableId": job_id}
        names = (chosen["projectId"], chosen["datasetId"], chosen["tableId"])
        self._tables.dataset(*names[:2])
        if self._tables.has_table(*names):
            if query.get("writeDisposition") != "WRITE_TRUNCATE":
                raise TableError("ALREADY_EXISTS", f"Already Exists: Table {names[0]}:{names[1]}.{names[2]}")
            self._tables.delete(*names)
        return chosen

    def _answer(self, job: Json, arguments: Mapping[str, Any]) -> Json:
        from mlport_vertex.emulator.services.tables import page_of_rows

        head = {"jobReference": job["jobReference"], "jobComplete": True, "cacheHit": False, "totalBytesProcessed": "0"}
        statistics = job["statistics"]["query"]
        if "numDmlAffectedRows" in statistics:
            return {**head, "totalRows": "0", "numDmlAffectedRows": statistics["numDmlAffectedRows"]}
        target = job["configuration"]["query"]["destinationTable"]
        names = (target["projectId"], target["datasetId"], target["tableId"])
        return {**head, "schema": self._tables.table(*names)["schema"], **page_of_rows(self._tables, names, arguments)}


def _location(job: Json) -> str:
    return str(job["jobReference"]["location"])


def _job(
    project: str,
    job_id: str,
    configuration: Json,
    started: float,
    kind: str,
    *,
    location: str | None = None,
    changed: int | None = None,
    error: TableError | None = None,
) -> Json:
    """A job that has ended."""
    begun, ended = str(int(started * 1000)), str(int(time.time() * 1000))
    affected = {} if changed is None else {"numDmlAffectedRows": str(changed)}
    failed = {"errorResult": error.proto, "errors": [error.proto]} if error else {}
    return {
        "kind": "bigquery#job",
        "id": f"{project}:{location or LOCATION}.{job_id}",
        "jobReference": {"projectId": project, "jobId": job_id, "location": location or LOCATION},
        "configuration": {**configuration, "jobType": "QUERY"},
        "status": {"state": "DONE", **failed},
        "statistics": {
            "creationTime": begun,
            "startTime": begun,
            "endTime": ended,
            "totalBytesProcessed": "0",
            "query": {"statementType": kind, "totalBytesProcessed": "0", "totalBytesBilled": "0", "cacheHit": False, **affected},
        },
    }
