"""E-mail: what may be written where, letters, plain text made of HTML."""
