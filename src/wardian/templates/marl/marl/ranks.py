"""Who trains: this process alone, or all ranks of an MPI job (``mpirun -n 2 python train.py``) one policy."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK")  # what mpirun, or srun --mpi, sets


class Ranks(Protocol):
    """The processes that train together."""

    rank: int
    size: int

    def average(self, policy: nn.Module) -> None:
        """Replace the gradients by their mean over all ranks."""
        ...

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks."""
        ...

    def share(self, value: Any) -> Any:
        """The first rank's value."""
        ...

    def abort(self) -> None:
        """End all ranks: one of them failed, and the others would wait for it."""
        ...


class Alone:
    """No other process."""

    rank, size = 0, 1

    def average(self, policy: nn.Module) -> None:
        """They are what they are."""

    def total(self, values: Sequence[float]) -> list[float]:
        """The values themselves."""
        return list(values)

    def share(self, value: Any) -> Any:
        """The value itself."""
        return value

    def abort(self) -> None:
        """Nobody waits."""


class Mpi:
    """The ranks of an MPI job."""

    def __init__(self) -> None:
        from mpi4py import MPI  # initialises MPI

        self._world, self._sum = MPI.COMM_WORLD, MPI.SUM
        self.rank, self.size = self._world.Get_rank(), self._world.Get_size()

    def average(self, policy: nn.Module) -> None:
        """One reduction of all gradients in a row."""
        gradients = [one.grad for one in policy.parameters()]
        own = torch.cat([one.flatten() for one in gradients]).cpu().numpy()
        mean = np.empty_like(own)
        self._world.Allreduce(own, mean, op=self._sum)
        mean /= self.size
        at = 0
        for one in gradients:
            one.copy_(torch.from_numpy(mean[at : at + one.numel()]).view_as(one))
            at += one.numel()

    def total(self, values: Sequence[float]) -> list[float]:
        """One reduction."""
        own = np.array(values, np.float64)
        sums = np.empty_like(own)
        self._world.Allreduce(own, sums, op=self._sum)
        return [float(one) for one in sums]

    def share(self, value: Any) -> Any:
        """A broadcast."""
        return self._world.bcast(value, root=0)

    def abort(self) -> None:
        """End the job with exit code 1."""
        self._world.Abort(1)


def ranks(environ: Mapping[str, str] = os.environ) -> Ranks:
    """Those that a launcher started, else this process alone: a training without MPI needs none."""
    return Mpi() if any(name in environ for name in LAUNCHED) else Alone()


def checksum(policy: nn.Module) -> str:
    """SHA-256 of all parameters, in order."""
    digest = hashlib.sha256()
    for name, values in sorted(policy.state_dict().items()):
        digest.update(name.encode() + values.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
