"""How Google's APIs are spoken: descriptions, names, filters, errors, long-running operations, gRPC."""
