"""What is known of an agent's training after every iteration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One iteration of an agent's training."""

    iteration: int
    steps: int
    """Environment steps so far."""
    episode_return: float
    """Mean over lanes of what was paid: of whole episodes the final val AP, with the reward "gain"."""
    test_ap: float
    """Mean over lanes; the learner never reads it."""
    diverged: int
    """Episodes that diverged."""
    action_mean: tuple[float, ...]
    """Mean action; the mean number of a choice, where actions are choices."""
    at_bound: float
    """Fraction of actions on the bound of their range; 0 where actions are choices."""
    seconds: float
    """Since the training began, over all its parts, by the clock; of an iteration that was lost nothing is known."""
    processor_seconds: float | None = None
    """Of the processor, likewise, in all processes; None where an earlier version did not measure it."""
    held_out: float | None = None
    """Mean return on held-out instances, without exploration; None of an iteration after which nobody asked."""
    policy: str = ""
    """Fingerprint of the policy after it; empty where an earlier version did not note it."""

    def __str__(self) -> str:
        actions = ", ".join(f"{value:+.2f}" for value in self.action_mean)
        held_out = "" if self.held_out is None else f"held out {round(self.held_out, 4) + 0.0:+.4f}, "  # never -0.0000
        return (
            f"iteration {self.iteration + 1}: {self.steps} steps, return {self.episode_return:.4f}, "
            f"{held_out}test AP {self.test_ap:.4f}, diverged {self.diverged}, "
            f"mean action ({actions}), at bound {self.at_bound:.0%}, {self.seconds:.0f} s"
        )
