"""A policy over offered actions: softmax of a causal language model's log-probability of each, after the goal."""

import json
import re
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

WORDS = """red green blue purple yellow grey ball key box door open closed locked go to the a an and pick up pickup put
next drop turn left right move forward toggle through check available actions goal your reach 0 1 2 3 4 5 6 7 8 9 then
after you in front of on behind : ,""".split()  # noqa: SIM905
OFFERED = re.compile(r"\nAvailable actions: (\[.*\])\s*$", re.DOTALL)


def goal(observation: str) -> str:
    """The goal that the first observation of an item tells."""
    return observation.partition("Your goal: ")[2].partition("\n")[0]


def offered(observation: str) -> list[str]:
    """The actions of an observation, without the one that only lists them."""
    match = OFFERED.search(observation)
    return [one for one in json.loads(match[1]) if not one.startswith("check")] if match else ["turn left"]


def tokenizer() -> PreTrainedTokenizerFast:
    """A word is a token."""
    vocabulary = {word: at for at, word in enumerate(["<unk>", "<pad>", "<end>", *dict.fromkeys(WORDS)])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="<end>")


class Policy:
    """The model and its tokenizer; ``folder`` is a HuggingFace directory."""

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:
            self.tokenizer = tokenizer()
            config = GPT2Config(
                vocab_size=len(self.tokenizer),
                n_positions=64,
                n_embd=64,
                n_layer=2,
                n_head=4,
                resid_pdrop=0,
                embd_pdrop=0,
                attn_pdrop=0,
                bos_token_id=2,
                eos_token_id=2,
                pad_token_id=1,
            )
            self.model = GPT2LMHeadModel(config)
        else:
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def log_probabilities(self, goals: list[str], choices: list[list[str]]) -> torch.Tensor:
        """Of each choice: shape (goals, most choices), -inf where there is none. With gradients."""
        pairs = list(dict.fromkeys((one, choice) for one, some in zip(goals, choices, strict=True) for choice in some))
        scores = dict(zip(pairs, self._score(pairs), strict=True))
        width = max(len(some) for some in choices)
        hidden = torch.tensor(float("-inf"))
        rows = [
            torch.stack([scores[one, choice] for choice in some] + [hidden] * (width - len(some)))
            for one, some in zip(goals, choices, strict=True)
        ]
        return torch.log_softmax(torch.stack(rows), dim=-1)

    def _score(self, pairs: list[tuple[str, str]]) -> list[torch.Tensor]:
        """Four times the mean log-probability of an action's words after a goal: so length is no fault."""
        heads = [self.tokenizer.encode(f"goal : {one} :") for one, _ in pairs]
        tails = [[*self.tokenizer.encode(choice), 2] for _, choice in pairs]
        width = max(len(head) + len(tail) for head, tail in zip(heads, tails, strict=True))
        rows = [head + tail + [1] * (width - len(head) - len(tail)) for head, tail in zip(heads, tails, strict=True)]
        tokens = torch.tensor(rows)
        logits = torch.log_softmax(
            self.model(input_ids=tokens, attention_mask=(tokens != 1).long()).logits[:, :-1], dim=-1
        )
        each = logits.gather(-1, tokens[:, 1:, None])[..., 0]
        return [
            each[at, len(head) - 1 : len(head) - 1 + len(tail)].mean() * 4
            for at, (head, tail) in enumerate(zip(heads, tails, strict=True))
        ]
