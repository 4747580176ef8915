"""Amazon SageMaker: how it bills. Its adapter is not here yet."""
