"""Sweeps, in rooms: what to try next (`suggesting`), which trials fall behind (`stopping`), what is stored (`ledger`), and `driving` it all."""
