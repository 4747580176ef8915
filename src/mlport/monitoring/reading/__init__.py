"""Reading a window: what was captured, whether it has drifted, whether the answers became worse."""
