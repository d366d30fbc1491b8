"""`make chaos`: a whole hub at work while everything about it breaks, and an account of every single item afterwards."""
