"""Environment servers: text environments for agents over HTTP, their client, and the evaluation of a model in them."""
