"""Settings: `base` holds everything; `production`, `demo` and `test` say only what differs."""
