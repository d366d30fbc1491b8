"""Sources that a tenant describes itself: how they sign, where their ids and types stand, which events come of them."""
