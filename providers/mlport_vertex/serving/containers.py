"""What a model is served by: Google's prebuilt image where one fits, mlport's model server, or an image of the user's."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mlport.errors import SpecError
from mlport.specs import DeploymentSpec
from mlport.spi import Facts, Json
from mlport_vertex.compute.images import PREDICTION, prediction_image
from mlport_vertex.config import VertexConfig
from mlport_vertex.options import VertexEndpointOptions
from mlport_vertex.serving import build_image

PORT = 8080
PREDICT, HEALTH = "/predict", "/health"
STARTS_WITHIN = "1800s"
SKLEARN = tuple(map(int, PREDICTION.rpartition(".")[2].split("-")))


def prebuilt(config: VertexConfig, files: Json) -> Json | None:
    """The container of a model with these files (`mlport_vertex.registry.model_files.describe`), None if there is none for it.

    Google's scikit-learn image reads `model.pkl` and `model.joblib` alone, and MLflow 3 writes skops unless told otherwise.
    A model of a newer scikit-learn than the image's is left to mlport's server where there is one.
    """
    reads = files.get("pickled", "sklearn" in files.get("flavors", ("sklearn",)))
    if reads and not (config.server_image and is_newer(files.get("sklearn"))):
        return {"imageUri": prediction_image(config.location)}
    if config.server_image and "python_function" in files.get("flavors", ()):
        return custom(config.server_image, {})
    return None


def is_newer(version: str | None) -> bool:
    """Whether a scikit-learn is newer than that of Google's image."""
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return found is not None and (int(found[1]), int(found[2])) > SKLEARN


def custom(image: str, env: Mapping[str, str], predict: str = PREDICT, health: str = HEALTH) -> Json:
    """The container of an image that keeps to Vertex AI's container contract, as mlport's model server does."""
    return {
        "imageUri": image,
        **_variables(env),
        "ports": [{"containerPort": PORT}],
        "predictRoute": predict,
        "healthRoute": health,
        "deploymentTimeout": STARTS_WITHIN,
    }


def of_deployment(config: VertexConfig, spec: DeploymentSpec, options: VertexEndpointOptions, facts: Facts) -> Json:
    """The container that a deployment asks for: for runtime `prebuilt` the registered one, where there is one.

    Raises:
        SpecError: runtime `prebuilt`, and neither a prebuilt image nor mlport's model server can serve the model.
    """
    if spec.runtime == "image" and spec.image:
        return custom(spec.image, spec.env, options.predict_route or PREDICT, options.health_route or HEALTH)
    registered = (facts.machine or {}).get("container")
    flavors = (facts.model or {}).get("flavors") or ()
    if spec.runtime == "build":
        built = build_image.image(config, facts.machine or {})
        return custom(built.address, spec.env, options.predict_route or PREDICT, options.health_route or HEALTH)
    found = registered or prebuilt(config, {"flavors": flavors, **({"pickled": False} if registered == {} else {})})
    if found is None:
        raise SpecError(
            f"DeploymentSpec.model: no prebuilt image of Vertex AI serves {spec.model}, whose flavors are {', '.join(flavors) or 'none'}",
            hint="set server_image in the profile to mlport's model server for MLflow models, or use runtime 'build', or 'image' with an image",
        )
    return {**found, **_variables(spec.env)}


def same(wanted: Json, registered: Json | None) -> bool:
    """Whether a registered version's container is the one wanted. One that nobody looked up is taken to be."""
    fields = ("imageUri", "env", "predictRoute")
    return registered is None or all(wanted.get(field) == registered.get(field) for field in fields)


def _variables(env: Mapping[str, str]) -> Json:
    return {"env": [{"name": name, "value": value} for name, value in sorted(env.items())]} if env else {}
