"""Amazon SageMaker: how it bills, and how its monitors measure. Its adapter is not here yet."""
