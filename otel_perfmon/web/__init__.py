"""What every face over HTTP shares: who may speak to it, and how long it waits for them."""
