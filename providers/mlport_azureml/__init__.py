"""Azure Machine Learning: how it bills. Its adapter is not here yet."""
