"""What holds for every test."""

from hypothesis import settings

# No deadline: the cores are shared. Derandomised: a run tells of the change, not of the dice.
settings.register_profile("laws", deadline=None, derandomize=True, database=None, max_examples=25)
settings.load_profile("laws")
