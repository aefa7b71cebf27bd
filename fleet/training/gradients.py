"""The gradients of a batch: at once, or in parts where memory does not hold it."""

import math

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from fleet.accelerator import free_memory, halving
from fleet.errors import BackendError, is_out_of_memory, note, out_of_memory
from fleet.training.method import Batch, Method

LEAST = 4
"""Fewer images are not tried."""


class Gradients:
    """Leaves a batch's gradients on the parameters.

    Where memory runs out, parts of the batch are taken from then on and their gradients added. They
    are those of the whole batch within float32's rounding (a relative 1e-5 on the networks of the
    tests), so the weights are not the same to the bit; ``at_once`` tells.

    Attributes:
        at_once: Images in a part; None as long as batches fit.
    """

    def __init__(self, method: Method, optimizer: torch.optim.Optimizer) -> None:
        self.at_once: int | None = None
        self._method, self._optimizer = method, optimizer

    def __call__(self, batch: Batch) -> float:
        """Returns the loss of the batch.

        Raises:
            BackendError: It does not fit, and parts of it would train another network.
        """
        count = len(batch.labels)
        if self.at_once is None:
            try:
                return self._whole(batch)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            self._clear()
            if not self._splits:
                raise self._too_large(batch)
            self.at_once = math.ceil(count / 2)
            note(f"a batch of {count} images does not fit in memory: parts of it are added up")
        return self._in_parts(batch, self.at_once)

    def _whole(self, batch: Batch) -> float:
        loss = self._method.loss(batch)
        value = loss.item()
        if math.isfinite(value):
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
        return value

    def _in_parts(self, batch: Batch, at_once: int) -> float:
        count, sizes = len(batch.labels), []
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)

        def add(rows: Tensor) -> float:
            loss = self._method.loss(batch.part(rows)) * (len(rows) / count)
            for parameter, gradient in zip(
                parameters,
                torch.autograd.grad(loss, parameters, materialize_grads=True),
                strict=True,
            ):
                parameter.grad += gradient
            sizes.append(len(rows))
            return loss.item()

        parts = torch.arange(count).tensor_split(math.ceil(count / at_once))
        value = sum(found for rows in parts for found in halving(add, rows))
        self.at_once = max(sizes)
        return value

    @property
    def _splits(self) -> bool:
        """Whether the images of a batch count alone: nothing is drawn or normalised over it."""
        parts = list(self._method.classifier.modules())
        drops = any(isinstance(part, _DropoutNd) and part.p > 0 for part in parts)
        norms = any(isinstance(part, _BatchNorm) for part in parts)
        return self._method.additive and not drops and not norms

    def _too_large(self, batch: Batch) -> BackendError:
        """The error of a batch that does not fit, with the largest half of halves that does."""
        name, count = self._method.device.name, len(batch.labels)
        size = count // 2
        while size >= LEAST:
            try:
                self._whole(batch.part(torch.arange(size)))
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            self._clear()
            size //= 2
        if size < LEAST:
            return out_of_memory(f"train {name}")
        return BackendError(
            f"train {name}: a batch of {count} images does not fit in memory, {size} do",
            hint=f"set training.batch_size to {size}: BatchNorm, dropout and robust training take "
            "a batch as a whole, so that parts of it would train another network",
        )

    def _clear(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        free_memory()
