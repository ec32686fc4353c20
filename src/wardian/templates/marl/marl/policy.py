"""The network that all agents share, and what PPO does with it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from marl.worlds import Worlds

HORIZON, EPOCHS, BATCHES = 64, 4, 4
LAMBDA, CLIP, ENTROPY, VALUE, NORM = 0.95, 0.2, 0.01, 0.5, 0.5
SHAPE = {"horizon": HORIZON, "epochs": EPOCHS, "minibatches": BATCHES, "gae_lambda": LAMBDA, "clip": CLIP}
LOSS = {"entropy": ENTROPY, "value": VALUE, "max_grad_norm": NORM, "width": 64}


class Policy(nn.Module):
    """Two small networks over one agent's view: what to do, and what to expect."""

    def __init__(self, width: int, actions: int, hidden: int = LOSS["width"]) -> None:
        super().__init__()
        self.actor = _network(width, hidden, actions, 0.01)
        self.critic = _network(width, hidden, 1, 1.0)

    def choose(self, seen: torch.Tensor) -> torch.distributions.Categorical:
        """The distribution over actions."""
        return torch.distributions.Categorical(logits=self.actor(seen))

    def expect(self, seen: torch.Tensor) -> torch.Tensor:
        """The discounted return that is expected from here."""
        return self.critic(seen).squeeze(-1)


def _network(width: int, hidden: int, out: int, gain: float) -> nn.Sequential:
    layers = [nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, out)]
    for at, layer in enumerate(layers[::2]):
        nn.init.orthogonal_(layer.weight, 2**0.5 if at < 2 else gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


@dataclass
class Rollout:
    """What was seen, done and reached in one horizon; every tensor is [horizon × rows, …]."""

    seen: torch.Tensor
    actions: torch.Tensor
    chances: torch.Tensor  # the logarithm of each action's probability
    advantages: torch.Tensor
    targets: torch.Tensor
    ended: list[tuple[float, int]]


@torch.no_grad()
def collect(worlds: Worlds, policy: Policy, gamma: float, device: torch.device) -> Rollout:
    """Play one horizon. An episode that only ran out of time is valued as if it went on."""
    ended: list[tuple[float, int]] = []
    steps = []
    for _ in range(HORIZON):
        seen = torch.as_tensor(worlds.see(), device=device)
        choice = policy.choose(seen)
        action = choice.sample()
        rewards, over, late, last, now = worlds.step(action.cpu().numpy())
        rewards = torch.as_tensor(rewards, device=device)
        if late.any():
            rewards += (
                gamma * policy.expect(torch.as_tensor(last, device=device)) * torch.as_tensor(late, device=device)
            )
        going = 1 - torch.as_tensor(over.astype(np.float32), device=device)
        steps.append((seen, action, choice.log_prob(action), policy.expect(seen), rewards, going))
        ended += now
    seen, actions, chances, values, rewards, going = (torch.stack(part) for part in zip(*steps, strict=True))
    following = policy.expect(torch.as_tensor(worlds.see(), device=device))
    advantages, ahead = torch.zeros_like(values), torch.zeros_like(following)
    for at in reversed(range(HORIZON)):
        surprise = rewards[at] + gamma * following * going[at] - values[at]
        ahead = advantages[at] = surprise + gamma * LAMBDA * going[at] * ahead
        following = values[at]
    targets = advantages + values
    flat = (part.flatten(0, 1) for part in (seen, actions, chances, advantages, targets))
    return Rollout(*flat, ended)


def improve(
    policy: Policy, optimizer: torch.optim.Optimizer, rollout: Rollout, average: Callable[[Policy], None]
) -> dict[str, float]:
    """Some epochs of PPO; ``average`` makes the gradients of all ranks one. Returns the mean losses."""
    losses = []
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(rollout.actions)).chunk(BATCHES):
            advantage = rollout.advantages[batch]
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            choice = policy.choose(rollout.seen[batch])
            ratio = (choice.log_prob(rollout.actions[batch]) - rollout.chances[batch]).exp()
            gain = torch.min(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
            miss = (policy.expect(rollout.seen[batch]) - rollout.targets[batch]).pow(2).mean()
            entropy = choice.entropy().mean()
            optimizer.zero_grad()
            (VALUE * miss - gain - ENTROPY * entropy).backward()
            average(policy)
            nn.utils.clip_grad_norm_(policy.parameters(), NORM)
            optimizer.step()
            losses.append((-gain.item(), miss.item(), entropy.item()))
    means = np.mean(losses, axis=0)
    return dict(zip(("policy_loss", "value_loss", "entropy"), (round(float(one), 6) for one in means), strict=True))
