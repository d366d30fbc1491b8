"""What the inbound side is held against: a Django project with one view that verifies a request's HMAC and inserts one row."""
