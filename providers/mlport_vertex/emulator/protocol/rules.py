"""What models, endpoints and batch jobs may be called and labelled: rules that the descriptions state in words only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mlport_vertex.emulator.protocol.errors import ApiError, violations

Json = dict[str, Any]

LONGEST_NAME = 128  # characters of a display name
MOST_LABELS = 64
LONGEST_LABEL = 63  # the description says 64; Google Cloud's general rule, and what is refused, is 63
_KEY = re.compile(r"[^\W\d_A-Z][\w-]*")
_MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
_ENDPOINT_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?|[1-9][0-9]{0,8}|0")
_DEPLOYED_ID = re.compile(r"[0-9]{1,10}")
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")


def invalid(field: str, said: str) -> ApiError:
    """One field that is wrong. The shape is that of Vertex AI's own checks; the sentences after `Message:` are ours."""
    return ApiError("INVALID_ARGUMENT", f"List of found errors:\t1.Field: {field}; Message: {said}\t", [violations([(field, said)])])


def check_resource(field: str, body: Mapping[str, Any]) -> None:
    """Display name and labels of a resource. `field` is its name in the request, such as `endpoint`."""
    if len(body.get("displayName", "")) > LONGEST_NAME:
        raise invalid(f"{field}.display_name", f"Display name must be at most {LONGEST_NAME} characters long.")
    check_labels(f"{field}.labels", body.get("labels", {}))


def check_labels(field: str, labels: Mapping[str, str]) -> None:
    if len(labels) > MOST_LABELS:
        raise invalid(field, f"At most {MOST_LABELS} labels are allowed.")
    for key, value in labels.items():
        if len(key) > LONGEST_LABEL or not _KEY.fullmatch(key):
            raise invalid(field, f"Label key {key!r} is invalid: {_RULE}")
        if len(value) > LONGEST_LABEL or (value and not re.fullmatch(r"[\w-]+", value)) or value != value.lower():
            raise invalid(field, f"Label value {value!r} is invalid: {_RULE}")


_RULE = (
    f"it must have at most {LONGEST_LABEL} characters, which can only be lowercase letters, numeric characters, underscores and dashes, "
    "and a key must begin with a letter."
)


def check_model_id(text: str) -> None:
    if not _MODEL_ID.fullmatch(text):
        raise invalid("model_id", "It must have up to 63 characters of [a-z0-9_-]; the first cannot be a number or hyphen.")


def check_endpoint_id(text: str) -> None:
    if not _ENDPOINT_ID.fullmatch(text):
        raise invalid(
            "endpoint_id",
            "It must begin with a letter, have up to 63 characters of [a-z0-9-] and end with a letter or number; "
            "or have up to 9 digits with no leading zeros.",
        )


def check_deployed_id(text: str) -> None:
    if not _DEPLOYED_ID.fullmatch(text):
        raise invalid("deployed_model.id", "It must have 1-10 characters of [0-9].")


def check_alias(text: str) -> None:
    """google-cloud-aiplatform, aiplatform_v1/types/model.py: `[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]`."""
    if not _ALIAS.fullmatch(text):
        raise invalid("version_aliases", f"Version alias {text!r} does not match [a-z][a-zA-Z0-9-]{{0,126}}[a-z0-9].")


def check_split(field: str, split: Mapping[str, int], known: set[str]) -> None:
    """A traffic split: only what is deployed, and 100 in all or nothing.

    "The following DeployedModel ID(s) [0] do not exist." was seen (GoogleCloudPlatform/java-docs-samples#8475).
    """
    if unknown := [key for key in split if key not in known]:
        raise ApiError("INVALID_ARGUMENT", f"The following DeployedModel ID(s) [{', '.join(unknown)}] do not exist.")
    if any(not 0 <= share <= 100 for share in split.values()) or (split and sum(split.values()) != 100):
        raise invalid(field, f"Traffic split percentages must add up to 100, not {sum(split.values())}.")


def check_etag(noun: str, sent: str | None, there_is: str) -> None:
    """Nothing sent overwrites blindly. Code and sentence were seen with metadata contexts (googleapis/python-aiplatform#1674)."""
    if sent and sent != there_is:
        raise ApiError("ABORTED", f"Specified {noun} `etag`: `{sent}` does not match server `etag`: `{there_is}`")
