"""Azure Machine Learning: how it bills, and how its monitors measure. Its adapter is not here yet."""
