"""MLflow as registry and tracking: versions, their files and lineage, and jobs that become runs."""
