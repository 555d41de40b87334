"""Can a head read the order of frames at all, when the texts ask for it?

Actions and the same clips played backwards, each with its own sentence: the frames of both are the same, so nothing
but their order tells them apart. A head is trained on that alone, over frame embeddings that stay as they are. One
that learns it shows that the probe can be solved; a model at chance on it then lacks not the frames but the use of
their order. Mean pooling gives both directions one and the same feature, whatever is trained.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEARNING_RATE, WEIGHT_DECAY, BATCH = 1e-3, 0.05, 64
SCALE = 16.0  # of the cosines, as exp(logit_scale) in the miniature's recipe


def both_directions(frames: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(N, T, D) and (N,) of actions as played -> (2N, T, D) and (2N,): backwards has the next label."""
    return torch.cat([frames, frames.flip(1)]), torch.cat([labels, labels + 1])


def train_on_order(
    head: nn.Module, frames: Tensor, labels: Tensor, prototypes: Tensor, steps: int, seed: int
) -> list[float]:
    """Train a temporal head to tell actions and their reversals by cross-entropy over their sentences.

    Args:
        head: (B, T, D) -> (B, D), trained in place; one without parameters is left as it is.
        frames: (N, T, D) embeddings of the clips as played.   labels: (N,) of their sentences, 2k; backwards 2k + 1.
        prototypes: (2A, D) text features.   steps: of AdamW, each on 64 clips.   seed: of their draw.
    Returns: the loss of each step, nats; empty for a head without parameters.
    """
    if not any(parameter.requires_grad for parameter in head.parameters()):
        return []
    shown, wanted = both_directions(frames, labels)
    texts, generator = F.normalize(prototypes, dim=-1), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    losses = []
    for _ in range(steps):
        batch = torch.randint(len(shown), (BATCH,), generator=generator).to(shown.device)
        logits = SCALE * F.normalize(head(shown[batch]), dim=-1) @ texts.T
        loss = F.cross_entropy(logits, wanted[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
