"""Pages in a browser: the explorer and the faucet. Needs the extra ``billots[web]``."""
