"""What every emulator stands on: the front door, its certificate authority, kept documents, faults on demand.

An emulator answers for a vendor's real host names on this machine, so that an unmodified program of the vendor's SDK
reaches it by environment variables alone, and does the work that it is asked for. `mlport emulate NAME` runs one.
"""

SUFFIX = "-emulated"  # the profile `NAME-emulated` is the emulator NAME, started when it is needed
