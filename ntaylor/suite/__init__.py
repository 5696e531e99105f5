"""A suite of posed problems: one file a problem, its equation, conditions, solution, and a recipe that solves it."""
