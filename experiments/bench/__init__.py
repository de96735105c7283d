"""The commands `mapopt bench ...`: what things cost and what they are worth, beside their alternatives in one run."""
