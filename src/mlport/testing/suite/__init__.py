"""The conformance tests. Each is named for what it shows; what it relies on stands in its `needs` mark."""
