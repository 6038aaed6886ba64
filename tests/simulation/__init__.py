"""The simulator: servers, liars, wallets and faults over a seeded network and clock."""
