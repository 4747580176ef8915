"""The model of an MLflow folder, by the fastest way that was seen to answer as pyfunc does.

MLflow's pyfunc wrapper costs about 1.7 ms a call, most of it pandas. A scikit-learn estimator that gets an array, or a
table made directly, answers the same in a fraction. Which of the two it can have is not guessed: at load both are run
beside pyfunc on the model's own example and on rows made from its signature; values, dtype and shape must be equal, and
rows must not depend on their neighbours. On any difference or exception the model is served through pyfunc.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlport.errors import UsageError
from mlport.serving import answers
from mlport.serving.gathering import GATHERERS, Gather
from mlport.serving.probes import MismatchError, Probe, compare, probes
from mlport.serving.pyfunc import Pyfunc
from mlport.serving.signature import Row, Signature, from_estimator, from_schema

Way = Literal["ndarray", "dataframe", "pyfunc"]
Output = tuple[str, str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model.

    Attributes:
        path: How it is called: `ndarray` or `dataframe` (native, batched), or `pyfunc` (one request at a time).
        why: What decided so.
        signature: Its columns, for the fast decoders; only meaningful while `native`.
        outputs: Name, datatype and shape of each output tensor, the number of rows as -1; empty where unknown.
    """

    name: str
    version: str | None
    flavor: str
    path: Way
    why: str
    pyfunc: Pyfunc
    signature: Signature
    outputs: tuple[Output, ...] = ()
    estimator: Callable[[Any], Any] | None = field(default=None, repr=False)
    gather: Gather | None = field(default=None, repr=False)

    @property
    def native(self) -> bool:
        return self.gather is not None

    @property
    def platform(self) -> str:
        return f"{self.flavor}_{self.path}"

    @property
    def sample(self) -> str:
        columns = ", ".join(f'"{name}"' for name in self.signature.names[:2])
        return f'{{"dataframe_split": {{"columns": [{columns}, ...], "data": [[...]]}}}}'

    def predict(self, rows: list[Row]) -> Any:
        """One prediction a row, as an array of shape (rows,) or (rows, values)."""
        if self.gather is None:
            raise TypeError("a pyfunc model is called through `pyfunc`")
        answer = self.call(self.gather(rows))
        if len(answer) != len(rows):
            raise ValueError(f"the model gave {len(answer)} predictions for {len(rows)} rows")
        return answer

    def call(self, data: Any) -> Any:
        """The estimator's answer to an array or a table, whichever `path` says."""
        if self.estimator is None:
            raise TypeError("a pyfunc model is called through `pyfunc`")
        answer = self.estimator(data)
        if not isinstance(answer, np.ndarray):
            raise TypeError(f"the estimator answered a {type(answer).__name__}, not an array")
        return answer


def load(folder: Path, *, name: str = "model", version: str | None = None, threads: int = 1) -> Model:
    """Load an MLflow model folder and choose its path.

    Raises:
        UsageError: when the folder is not an MLflow model, or cannot be loaded; the hint says what to do.
    """
    pyfunc_model = _load_pyfunc(folder)
    flavors = pyfunc_model.metadata.flavors
    declared = from_schema(pyfunc_model.metadata.get_input_schema())
    pyfunc = Pyfunc(pyfunc_model, declared)
    empty = Signature((), (), named=False)
    loader = flavors.get("python_function", {}).get("loader_module")
    if loader != "mlflow.sklearn":
        why = f"its loader is {loader}, and only scikit-learn's has a faster way"
        return Model(name, version, "mlflow", "pyfunc", why, pyfunc, declared or empty)
    estimator = pyfunc_model.get_raw_model()
    _limit_threads(estimator, threads)
    signature = declared if pyfunc_model.metadata.get_input_schema() else from_estimator(estimator)
    if signature is None or not signature.decodable:
        why = "its signature has inputs other than plain numbers, booleans and texts" if signature else "it has no signature"
        return Model(name, version, "sklearn", "pyfunc", why, pyfunc, signature or empty)
    call = getattr(estimator, flavors["python_function"].get("predict_fn", "predict"))
    found = probes(signature, pyfunc, pyfunc_model.input_example)
    unchosen = Model(name, version, "sklearn", "pyfunc", "", pyfunc, signature, _outputs(found), call)
    return _choose(unchosen, found)


def _outputs(found: list[Probe]) -> tuple[Output, ...]:
    tensors = answers.tensors(found[0].expected) if found else []
    return tuple((tensor["name"], tensor["datatype"], (-1, *tensor["shape"][1:])) for tensor in tensors)


def _load_pyfunc(folder: Path) -> Any:
    if not (folder / "MLmodel").is_file():
        raise UsageError(f"{folder}: not an MLflow model folder, there is no MLmodel file in it")
    import mlflow.pyfunc

    try:
        return mlflow.pyfunc.load_model(str(folder))
    except Exception as error:  # loading runs the model's own code, which may raise anything
        raise UsageError(f"{folder}: the model cannot be loaded: {type(error).__name__}: {error}", hint=_hint(error)) from error


def _hint(error: Exception) -> str:
    if type(error).__name__ == "UntrustedTypesFoundException":
        return (
            "MLflow saves scikit-learn models with skops, which loads only types that it knows; save it again with "
            "serialization_format='cloudpickle', or name the types in skops_trusted_types=[...]"
        )
    if isinstance(error, ImportError):
        return "install what the model's requirements.txt lists, or serve it from an environment built for it"
    return "load it with mlflow.pyfunc.load_model in the same environment to see the whole error"


def _limit_threads(estimator: Any, threads: int) -> None:
    """Threads of its own would fight for the cores with other workers, and starting them outlasts a small prediction."""
    if hasattr(estimator, "get_params"):
        wanted = {key: threads for key in estimator.get_params() if key == "n_jobs" or key.endswith("__n_jobs")}
        estimator.set_params(**wanted)


def _choose(model: Model, found: list[Probe]) -> Model:
    """The model by the first native way that answers all probes as pyfunc did, else by pyfunc."""
    # The array has no names by intent; its columns were put in the model's order by name.
    warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)
    if not found:
        return replace(model, why="pyfunc answered none of the rows tried, so nothing could be compared")
    reasons = []
    for way, make in GATHERERS.items():
        gather = make(model.signature)
        if gather is None:
            continue
        candidate = replace(model, path=way, gather=gather, why=f"equal to pyfunc on {sum(len(probe.rows) for probe in found)} rows")
        try:
            compare(candidate.predict, found)
        except MismatchError as mismatch:
            reasons.append(f"{way}: {mismatch}")
        else:
            return candidate
    return replace(model, why="; ".join(reasons) or "no native form for its columns")
