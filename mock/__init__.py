"""Keys of the test network, and commands that play with it."""
