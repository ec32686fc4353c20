"""GRPO over several turns against the BabyAI server: rollouts in batches, advantages within each item's group.

wardian up babyai
wardian run -- python train.py --steps 40 --output saves/first
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch
from agent.policy import Policy, goal, offered
from agent.shards import save

from wardian.envs import Client


def numbers(path: str) -> list[int]:
    """The items of a list."""
    return [int(one["item_id"].rpartition("_")[2]) for one in json.loads(Path(path).read_text())]


def rollout(client: Client, policy: Policy, items: list[int], rounds: int, greedy: bool = False) -> list[dict]:
    """Play items at once, a session each: the goals, what was offered, what was chosen, the score."""
    ids = client.create(len(items))
    try:
        told = client.reset(dict(zip(ids, items, strict=True)))
        played = {
            one["id"]: {"goal": goal(one["observation"]), "seen": one["observation"], "turns": [], "score": 0.0}
            for one in told
        }
        live = list(ids)
        for _ in range(rounds):
            if not live:
                break
            choices = [offered(played[number]["seen"]) for number in live]
            with torch.no_grad():
                chances = policy.log_probabilities([played[number]["goal"] for number in live], choices).exp()
            picks = (chances.argmax(-1) if greedy else torch.multinomial(chances, 1)[:, 0]).tolist()
            actions = {number: some[pick] for number, some, pick in zip(live, choices, picks, strict=True)}
            for number, some, pick in zip(live, choices, picks, strict=True):
                played[number]["turns"].append((some, pick))
            for one in client.step(actions):
                played[one["id"]] |= {"seen": one["observation"], "score": one["score"]}
                if one["done"]:
                    live.remove(one["id"])
        return [played[number] for number in ids]
    finally:
        client.close(ids)


def loss(policy: Policy, episodes: list[dict], group: int) -> torch.Tensor:
    """GRPO's: each turn's log-probability, weighted by how much better its episode was than its group."""
    scores = torch.tensor([one["score"] for one in episodes]).view(-1, group)
    advantages = ((scores - scores.mean(1, keepdim=True)) / (scores.std(1, keepdim=True) + 1e-4)).flatten()
    turns = [
        (one["goal"], some, pick, float(gain))
        for one, gain in zip(episodes, advantages, strict=True)
        for some, pick in one["turns"]
        if gain
    ]
    if not turns:
        return torch.zeros((), requires_grad=True)
    logs = policy.log_probabilities([one[0] for one in turns], [one[1] for one in turns])
    chosen = logs[torch.arange(len(turns)), torch.tensor([one[2] for one in turns])]
    return -(chosen * torch.tensor([one[3] for one in turns])).mean()


def solved(client: Client, policy: Policy, items: list[int], rounds: int) -> float:
    """The share of items that a sampled policy solves."""
    return sum(one["score"] > 0 for one in rollout(client, policy, items, rounds)) / len(items)


def main() -> int:
    """Train, save shards, and say how much of what was never trained on is solved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--items", default="AgentItemId/babyai_train.json")
    parser.add_argument("--held-out", default="AgentEval/babyai/babyai_test.json")
    parser.add_argument("--batch", type=int, default=8, help="items in a step")
    parser.add_argument("--group", type=int, default=8, help="episodes of an item")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--world-size", type=int, default=2, help="shards that are saved")
    parser.add_argument("--output", type=Path, default=Path("saves/first"))
    parser.add_argument("--env-url", default=os.environ.get("WARDIAN_SERVICE_BABYAI_URL", "http://127.0.0.1:36002"))
    parser.add_argument("--expect", type=float, help="fail below this share of held-out items solved")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    items, held_out = numbers(given.items), numbers(given.held_out)
    policy = Policy()
    optimizer = torch.optim.Adam(policy.model.parameters(), lr=given.lr)
    given.output.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with Client(given.env_url) as client, (given.output / "metrics.jsonl").open("w") as metrics:
        before = solved(client, policy, held_out, given.rounds)
        for step in range(1, given.steps + 1):
            chosen = [items[at] for at in torch.randint(len(items), (given.batch,)).tolist()]
            episodes = rollout(client, policy, [one for one in chosen for _ in range(given.group)], given.rounds)
            value = loss(policy, episodes, given.group)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            reward = sum(one["score"] for one in episodes) / len(episodes)
            metrics.write(json.dumps({"step": step, "reward": reward, "loss": value.item()}) + "\n")
            if step % 10 == 0:
                print(f"step {step}: reward {reward:.3f}", flush=True)
        after = solved(client, policy, held_out, given.rounds)
    actor = given.output / f"global_step_{given.steps}" / "actor"
    save(policy, actor, given.world_size)
    said = {"before": before, "after": after, "seconds": round(time.monotonic() - start, 1), "actor": str(actor)}
    (given.output / "result.json").write_text(json.dumps(said, indent=2) + "\n")
    print(f"held-out items solved: {before:.3f} before, {after:.3f} after, {said['seconds']} s; {actor}")
    if given.expect is not None and after < given.expect:
        print(f"expected {given.expect}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
