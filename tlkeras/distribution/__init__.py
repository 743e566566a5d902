"""Where the work runs: devices, machines, and how they share it."""
