"""A client that a test may kill: `python endpoint_client.py ROOT VERB TOKEN` does one thing to the endpoint `e`, and waits for it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from aids.local.endpoints import Place


def main(root: str, verb: str, token: str) -> None:
    place = Place(Path(root))
    match verb:
        case "create":
            operation = place.endpoints.create(place.endpoint("e"), token=token)
        case "deploy":
            operation = place.endpoints.deploy(place.deployment("e", "green"), token=token)
        case "set_traffic":
            operation = place.endpoints.set_traffic("e", {"blue": 40, "green": 60}, token=token)
        case "undeploy":
            operation = place.endpoints.undeploy("e", "green", token=token)
        case "delete":
            operation = place.endpoints.delete("e", token=token)
        case "rotate_key":
            place.endpoints.rotate_key("e", token=token)
            return
        case _:
            raise ValueError(verb)
    place.done(operation)


if __name__ == "__main__":
    main(*sys.argv[1:])
