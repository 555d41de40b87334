"""What to do where memory does not suffice for a batch: it goes through in pieces that fit, or a sentence says how."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, on a GPU or not."""
    said = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in said)


class InPieces:
    """A function of videos, called with as many of them at once as memory suffices for.

    Args:
        function: of a batch, in which no video sees another.
        at_once: videos to begin with; halved, for good, whenever they turn out to be too many.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], at_once: int):
        self.function, self.at_once = function, at_once

    def __call__(self, batch: Tensor) -> Iterator[Tensor]:
        """What the function makes of the pieces of a batch, in order.

        Raises:
            RuntimeError: if memory does not suffice for a single video.
        """
        start = 0
        while start < len(batch):
            piece = batch[start : start + self.at_once]
            try:
                done = self.function(piece)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(piece) == 1:
                    raise RuntimeError("out of memory with 1 video at once. Try fewer frames, or the CPU.") from error
                self.at_once = len(piece) // 2  # tried when the error is gone, and with it what it holds in memory
                print(f"out of memory with {len(piece)} videos at once: going on with {self.at_once}.")
            else:
                yield done
                start += len(piece)


@contextmanager
def explained_out_of_memory(clips: int) -> Iterator[None]:
    """Turn an out-of-memory error of a pass of so many clips into a RuntimeError that says what to try."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        smaller = f"at_once={clips // 2} (batch_size and the numbers stay)" if clips > 1 else "fewer frames"
        raise RuntimeError(
            f"out of memory with {clips} clips at once on one device. Try {smaller}, or recompute=True "
            "(activation checkpointing)."
        ) from error
