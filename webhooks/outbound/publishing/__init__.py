"""Facts become events: validated, stored once, owed to whoever subscribes."""
