"""Controllers decide the knobs of every round from the history alone.

A cosine schedule, a reaction to a stalled AP, early stopping, a trained policy and the replay of yesterday's run are
the same kind of thing, so they can be compared, resumed and replayed by the same code.
"""
