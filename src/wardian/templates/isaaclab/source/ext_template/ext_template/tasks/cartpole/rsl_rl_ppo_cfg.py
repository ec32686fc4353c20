"""What rsl-rl trains the task with, in the words of rsl-rl 5 (3 and older have ``policy`` for actor and critic)."""

from typing import Any


def cartpole_ppo() -> dict[str, Any]:
    """The runner's configuration."""
    network = {"class_name": "MLPModel", "hidden_dims": [32, 32], "activation": "elu"}
    noise = {"class_name": "GaussianDistribution", "init_std": 1.0}
    return {
        "seed": 42,
        "experiment_name": "cartpole",
        "run_name": "",
        "num_steps_per_env": 24,
        "max_iterations": 150,
        "save_interval": 50,
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "actor": {**network, "distribution_cfg": noise},
        "critic": network,
        "algorithm": {
            "class_name": "PPO",
            "learning_rate": 1.0e-3,
            "schedule": "adaptive",
            "desired_kl": 0.01,
            "gamma": 0.99,
            "lam": 0.95,
            "clip_param": 0.2,
            "entropy_coef": 0.005,
            "value_loss_coef": 1.0,
            "use_clipped_value_loss": True,
            "num_learning_epochs": 5,
            "num_mini_batches": 4,
            "max_grad_norm": 1.0,
        },
    }
