"""What goes out by itself: receipts, notices of events, recurring messages."""
