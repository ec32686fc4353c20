"""``ExtTemplate-Cartpole-v0``: the smallest task that a policy has to learn."""

import gymnasium

HERE = __name__

gymnasium.register(
    id="ExtTemplate-Cartpole-v0",
    entry_point=f"{HERE}.cartpole_env:CartpoleEnv",
    disable_env_checker=True,
    kwargs={
        "env_cfg_entry_point": f"{HERE}.cartpole_env:CartpoleEnvCfg",
        "rsl_rl_cfg_entry_point": f"{HERE}.rsl_rl_ppo_cfg:cartpole_ppo",
    },
)
