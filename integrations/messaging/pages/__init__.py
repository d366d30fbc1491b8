"""What a recipient's browser or mail program sees of the hub, at `/u/<token>`.

Whoever has the signed token may unsubscribe its recipient, and undo that. Looking changes nothing: mail servers follow links.
"""
