"""What is kept: objects, tables, models, images, and what passed through endpoints."""
