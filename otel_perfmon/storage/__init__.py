"""Where spans are kept: the contracts (`base`), the road into a store (`recorder`), and the backends."""
