"""The way to Google: calls by REST or gRPC, objects, and errors in our words."""
