"""The detector as an agent: rankings of its boxes are drawn, rewarded with the metric, and made more or less likely.

`RewardTerm` stands where a class loss stands. Boxes and their suppression are those that the detector reports; what is
drawn is in which order they come, which is all that AP sees of scores.
"""
