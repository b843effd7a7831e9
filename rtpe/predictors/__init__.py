"""Predictors: anything that turns images into pose maps and people, and so can teach, be scored, exported or shown."""
