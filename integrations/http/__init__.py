"""The one way out: every call to a provider passes this client's mask, timer, log and guard."""
