"""Releases of the sample provider that have one bug each: what the conformance suite must not let through.

`release.install` makes a folder that, on PYTHONPATH, stands before the sound release that is installed, and so is what
`--profile=sample` finds, in every process of the run. Nothing else of the plug-in differs; no user's listing shows it.
"""
