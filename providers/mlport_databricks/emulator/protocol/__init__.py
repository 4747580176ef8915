"""How Databricks' APIs are spoken: the SDK's source as their description, errors, tokens."""
