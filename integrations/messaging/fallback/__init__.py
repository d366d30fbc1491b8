"""Another way for a message whose first way failed."""
