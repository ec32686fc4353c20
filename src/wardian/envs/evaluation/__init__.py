"""The evaluation of a language model in an environment: items, conversations, results and what they come to."""
