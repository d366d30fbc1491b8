"""`make demo`: the whole hub on this machine, and its main job done once through the public API."""
