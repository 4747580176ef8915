"""aiplatform: custom jobs, which run a container or a Python package on one or more pools of workers."""

from __future__ import annotations

from collections.abc import Mapping

from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.resources import normal
from mlport_vertex.emulator.protocol.rules import check_resource
from mlport_vertex.emulator.working import containers
from mlport_vertex.emulator.working.jobs_common import Json, Noun, faults_of, refuse_over_quota
from mlport_vertex.emulator.working.jobs_common import handlers as common
from mlport_vertex.emulator.working.runs import ENDED, KIND


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""

    def create(request: Request) -> Json:
        job = request.body
        check_resource("custom_job", job)
        containers.refuse(containers.checked(job["jobSpec"], "custom_job.job_spec"))
        refuse_over_quota(request)
        return place.runs.begin(normal(request.parent), job, faults=faults_of(request))

    noun = Noun(KIND, "CustomJob", ENDED, place.runs.look, place.runs.cancel, place.runs.forget)
    return {"aiplatform.projects.locations.customJobs.create": create, **common(place, noun)}
