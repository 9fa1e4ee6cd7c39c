"""Embeds the same crops under many contracts, in one process of its own: a foreign file is opened once."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...faces.contract import Faces, InputContract
from ...lazy import opener_of
from ..processes import answer, ask


@dataclass(frozen=True)
class Opened:
    """What opens a network in another process."""

    path: Path
    opener: str  # module:function(path, threads[, factory][, output]) -> a session
    factory: str | None = None  # the code of a checkpoint that is not of the zoo
    output: str = ""  # the name of the embedding, where a file has several outputs


def embed_under(network: Opened, contracts: Sequence[InputContract], crops: Faces) -> list[NDArray[np.float32] | str]:
    """Embeds crops under each contract.

    Args:
        network: What embeds.
        contracts: K of them; crops of another size are cut anew to fit.
        crops: (M, H, W, 3) uint8.

    Returns:
        For each contract (M, D) float32 of any length, or the reason why there are none.

    Raises:
        ValueError: The network cannot be opened or ends its process.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "crops.npy", crops)
        request = {
            "path": str(network.path.absolute()),
            "opener": network.opener,
            "factory": network.factory,
            "output": network.output,
            "contracts": [contract.to_dict() for contract in contracts],
            "folder": str(folder.absolute()),
        }
        try:
            reasons = ask(__name__, request, network.path.name, "tried")["reasons"]
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        return [reason or np.load(folder / f"{k}.npy", allow_pickle=False) for k, reason in enumerate(reasons)]


def _main(request: dict[str, Any]) -> dict[str, Any]:
    from ...bounds import limit_memory, limited_time
    from ...export.session import raw_embeddings
    from ...faces.recutting import recut

    folder, path = Path(request["folder"]), Path(request["path"])
    crops = np.load(folder / "crops.npy", allow_pickle=False)
    limit_memory(path, more=8 * crops.nbytes)
    with limited_time():
        session = opener_of(request["opener"], request["factory"], request["output"])(path, 1)
    ports, reasons = getattr(session, "ports", None), []
    for number, values in enumerate(request["contracts"]):
        contract = InputContract.from_dict(values)
        faces = recut(crops, contract.height, contract.width)
        try:
            if ports is not None:
                ports.check(contract)
            with limited_time():
                raw_embeddings(session, contract, faces[:1])
            np.save(folder / f"{number}.npy", raw_embeddings(session, contract, faces))
        except Exception as error:  # whatever a runtime, or somebody's network, raises of a size that does not fit it
            reasons.append(" ".join(str(error).split()) or type(error).__name__)
        else:
            reasons.append("")
    return {"reasons": reasons}


if __name__ == "__main__":
    answer(_main)
