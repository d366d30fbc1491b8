"""WhatsApp: texts within the customer's window, templates outside of it."""
