"""Google's prebuilt images by region: https://cloud.google.com/vertex-ai/docs/training/pre-built-containers."""

from __future__ import annotations

MULTI_REGIONS = {"europe": "europe", "asia": "asia", "australia": "asia", "me": "europe", "africa": "europe"}
TRAINING = PREDICTION = "sklearn-cpu.1-6"  # the newest scikit-learn seen in public code; `latest` is the only tag that Google supports


def multi_region(location: str) -> str:
    """Where Google keeps prebuilt images nearest to a region.

    >>> multi_region("europe-west4"), multi_region("us-central1"), multi_region("northamerica-northeast1")
    ('europe', 'us', 'us')
    """
    return MULTI_REGIONS.get(location.partition("-")[0], "us")


def training_image(location: str) -> str:
    """The image of jobs that name none."""
    return f"{multi_region(location)}-docker.pkg.dev/vertex-ai/training/{TRAINING}:latest"


def prediction_image(location: str) -> str:
    """The image that serves scikit-learn models: https://cloud.google.com/vertex-ai/docs/predictions/pre-built-containers."""
    return f"{multi_region(location)}-docker.pkg.dev/vertex-ai/prediction/{PREDICTION}:latest"
