"""The largest number of clips that fits a device at once in training, by trying."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from motion_lib.models.memory import is_out_of_memory

LARGEST_TRIED = 4096  # clips


def largest_at_once(fits: Callable[[int], bool], limit: int = LARGEST_TRIED) -> int:
    """The largest number of clips, 0 to `limit`, for which `fits`; it is asked about 2 log2(answer) times.

    Args:
        fits: true up to some number and false above it.
    """
    low, high = 0, 1
    while high <= limit and fits(high):
        low, high = high, 2 * high
    high = min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def dry_run(classifier: nn.Module, clips: int, precision: torch.dtype = torch.float32) -> bool:
    """Whether one forward and backward pass of this many clips fits the device; gradients stay allocated.

    Args:
        classifier: `ClassifierWithTexts`, on the device.
        precision: bfloat16 for the recipe's "bf16".
    """
    model = classifier.model
    device, preprocess = model.device, model.preprocess
    shape = (clips, preprocess.num_frames, 3, preprocess.crop_size, preprocess.crop_size)
    try:
        frames = torch.zeros(shape, dtype=torch.uint8, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision is torch.bfloat16):
            logits = classifier(frames)
        F.cross_entropy(logits, torch.zeros(clips, dtype=torch.int64, device=device)).backward()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return True


def largest_in_training(classifier: nn.Module, optimizer: torch.optim.Optimizer, precision: torch.dtype) -> int:
    """Clips that fit the GPU at once in training, by trying; several devices need one more copy of the gradients.

    Args:
        optimizer: of the classifier's weights, with a learning rate of zero.
    """
    if not dry_run(classifier, 1, precision):
        return 0
    optimizer.step()  # its moments and the gradients stay, as in training
    return largest_at_once(lambda clips: dry_run(classifier, clips, precision))
